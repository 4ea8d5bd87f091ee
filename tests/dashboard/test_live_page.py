"""The live page in a real browser: what a learner sees, and does.

Screenshots of it stay in build/screenshots.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import SCREENSHOTS, chromium
from tests.dashboard.fake_coordinator import FakeCoordinator, checkpoint, save, write_lines
from tests.dashboard.running import Running

pytestmark = [pytest.mark.integration, pytest.mark.long]

HOSTILE = '<img src=x onerror="document.title=1">'
SOON_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[FakeCoordinator]:
    workers = ("worker-a", HOSTILE, "w" * 60)
    with FakeCoordinator(tmp_path / "run", workers) as coordinator:
        coordinator.advance(60)
        save(tmp_path / "run", checkpoint(25), checkpoint(50))
        yield coordinator


@pytest.fixture
def dashboard(coordinator: FakeCoordinator, tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "run") as running:
        yield running


SIZES = [("desktop", 1280, 800), ("phone", 375, 740)]


@pytest.fixture(params=SIZES, ids=lambda param: param[0])
def page(request: pytest.FixtureRequest, browser: Browser, dashboard: Running) -> Iterator[Page]:
    """The page at one size; nothing may have gone wrong in it by the end of a test."""
    name, width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
    page.goto(dashboard.url)
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator("#timeline [data-kind=computing]").first).to_be_attached()
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    stem = request.node.originalname.removeprefix("test_")
    page.screenshot(path=SCREENSHOTS / f"dashboard-{name}-{stem}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert not wrong


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def test_the_page_follows_the_run_by_itself(page: Page, coordinator: FakeCoordinator) -> None:
    expect(page.locator("#step")).to_have_text("60")
    expect(page.locator("#names > li")).to_have_count(2)
    expect(page.locator("#timeline-summary")).to_contain_text("Step 60 took")
    curve = page.locator("#loss-chart [data-curve=loss]")
    before = curve.get_attribute("d")

    coordinator.advance(5)

    expect(page.locator("#step")).to_have_text("65", timeout=SOON_MS)
    expect(page.locator("#timeline-summary")).to_contain_text("Step 65 took")
    expect(page.locator("#tree-summary")).to_contain_text("Step 66")
    expect(page.locator("#phases caption")).to_contain_text("the last 32 steps")
    assert curve.get_attribute("d") != before


def test_a_new_checkpoint_is_the_first_of_the_names(page: Page, tmp_path: Path) -> None:
    save(tmp_path / "run", checkpoint(60))

    expect(page.locator("#names > li")).to_have_count(3, timeout=SOON_MS)
    expect(page.locator("#names > li").first).to_contain_text("step 60")
    expect(page.locator("#names > li").first.locator("ol li")).to_have_count(8)


def test_a_workers_name_is_text_and_not_markup(page: Page) -> None:
    expect(page.locator("#members")).to_contain_text(HOSTILE)
    expect(page.locator("img")).to_have_count(0)
    assert page.title().startswith("run ")


def test_everything_can_be_reached_and_done_with_the_keyboard(
    page: Page, coordinator: FakeCoordinator
) -> None:
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(focused(page))
    order = ["loss-chart", "shown", "pause", "timeline", "members", "phases"]
    assert [one for one in dict.fromkeys(reached) if one in order] == order

    page.locator("#loss-chart").focus()
    page.keyboard.press("Home")
    expect(page.locator("#loss-detail")).to_contain_text("Step 1: loss 3.")

    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#timeline-detail")).to_contain_text("coordinator, step")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#timeline-detail")).to_contain_text("worker-a, step")
    detail = page.locator("#timeline-detail").inner_text()
    coordinator.advance(2)
    expect(page.locator("#step")).to_have_text("62", timeout=SOON_MS)
    assert page.locator("#timeline-detail").inner_text() == detail, "who reads is not disturbed"
    page.keyboard.press("Escape")
    expect(page.locator("#timeline-summary")).to_contain_text("Step 62 took")


def test_a_pause_holds_the_timeline_and_lets_it_go_on(
    page: Page, coordinator: FakeCoordinator
) -> None:
    pause = page.get_by_role("button", name="Pause")
    pause.press("Enter")
    go_on = page.get_by_role("button", name="Go on")
    expect(go_on).to_have_attribute("aria-pressed", "true")
    coordinator.advance(4)
    expect(page.locator("#step")).to_have_text("64", timeout=SOON_MS)
    expect(page.locator("#timeline-summary")).to_contain_text("Step 60 took")
    expect(page.locator("#tree-summary")).to_contain_text("Step 61")

    go_on.press("Enter")
    expect(page.locator("#timeline-summary")).to_contain_text("Step 64 took")
    expect(page.locator("#tree-summary")).to_contain_text("Step 65")


def test_pointing_at_a_part_gives_its_numbers(page: Page) -> None:
    page.locator("#timeline [data-kind=computing]").first.hover()

    expect(page.locator("#timeline-detail")).to_contain_text("computing shard")
    expect(page.locator("#timeline-detail")).to_contain_text("µs")


def test_fewer_steps_are_shown_if_one_says_so(page: Page) -> None:
    page.get_by_label("Steps shown").select_option("1")

    expect(page.locator("#timeline text", has_text="step 60")).to_have_count(1)
    expect(page.locator("#timeline text", has_text="step 59")).to_have_count(0)


def test_the_last_picture_stays_while_no_coordinator_is_there(
    browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 740})
    with Running(tmp_path / "run") as running:
        page.goto(running.url)
        expect(page.locator("#state")).to_contain_text("No coordinator now")
        with FakeCoordinator(tmp_path / "run") as coordinator:
            coordinator.advance(5)
            expect(page.locator("#state")).to_have_text("Live", timeout=SOON_MS)
        expect(page.locator("#state")).to_contain_text("the last picture", timeout=SOON_MS)
        expect(page.locator("#step")).to_have_text("5")
        expect(page.locator("#timeline-summary")).to_contain_text("Step 5 took")
        with FakeCoordinator(tmp_path / "run", number=5) as coordinator:
            coordinator.advance(2)
            expect(page.locator("#state")).to_have_text("Live", timeout=SOON_MS)
            expect(page.locator("#step")).to_have_text("7")
        write_lines(tmp_path / "run", 8, 900)
        expect(page.locator("#state")).to_have_text("Finished after 900 steps", timeout=SOON_MS)
    page.close()


def test_the_page_comes_again_when_the_dashboard_does(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 740})
    with FakeCoordinator(tmp_path / "run") as coordinator:
        coordinator.advance(5)
        with Running(tmp_path / "run") as running:
            page.goto(running.url)
            expect(page.locator("#state")).to_have_text("Live", timeout=SOON_MS)
            port = int(running.url.rpartition(":")[2])
        expect(page.locator("#state")).to_contain_text("trying again", timeout=SOON_MS)
        coordinator.advance(1)
        with Running(tmp_path / "run", port):
            expect(page.locator("#state")).to_have_text("Live", timeout=SOON_MS)
            expect(page.locator("#step")).to_have_text("6")
            page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(
    browser: Browser, dashboard: Running, scheme: str
) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: text 4.5 to 1, marks that carry meaning 3 to 1."""
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(dashboard.url)
    names = ["text", "quiet", "mark", "wrong", "computing", "sending", "waiting", "edge"]
    names += ["reduce", "adam", "checkpoint", "other", *(f"w{i}" for i in range(8))]
    found = page.evaluate(CONTRASTS, names)
    page.close()

    texts = {name: found[name] for name in ("text", "quiet", "mark", "wrong")}
    assert min(texts.values()) >= 4.5, texts
    assert min(found.values()) >= 3.0, found
    assert found["on-computing"] >= 4.5
    assert min(found[f"w{i}"] for i in range(8)) >= 4.5, "they are the ground of letters"


CONTRASTS = """(names) => {
  const style = getComputedStyle(document.documentElement);
  const channels = (name) => {
    const hex = style.getPropertyValue("--" + name).trim().slice(1);
    const whole = hex.length === 3 ? [...hex].map((one) => one + one).join("") : hex;
    return [0, 2, 4].map((at) => parseInt(whole.slice(at, at + 2), 16) / 255);
  };
  const light = (name) => {
    const curve = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const linear = channels(name).map(curve);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const found = {};
  for (const name of names) found[name] = Math.min(contrast(name, "card"), contrast(name, "paper"));
  found["on-computing"] = contrast("on-computing", "computing");
  return found;
}"""
