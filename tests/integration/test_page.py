"""The sampler's page, in a real browser: type, click, see names.

Screenshots of it stay in build/screenshots.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import SCREENSHOTS, chromium
from tests.integration.flock import Lab
from tests.integration.oracle import Job

pytestmark = [pytest.mark.integration, pytest.mark.long]

ALL_ENDED_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(shared_lab: Lab) -> str:
    train = shared_lab.train(Job(steps=4), "--workers=1", "--checkpoint-every=2")
    train.summary()
    sampler = shared_lab.start("serve", f"--run-dir={train.run_dir}", "--bind=tcp://127.0.0.1:0")
    return sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2]


@pytest.fixture(params=[("desktop", 1280, 800), ("phone", 375, 740)], ids=lambda param: param[0])
def page(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Page]:
    """The page at one size; nothing may have gone wrong in it by the end of a test."""
    name, width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
    page.goto(url)
    expect(page.locator("#model option")).to_have_count(4)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{request.node.originalname}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert not [line for line in wrong if "400" not in line]


def test_a_person_types_a_prompt_moves_the_slider_and_sees_names(page: Page) -> None:
    page.get_by_label("Begins with").fill("ma")
    slider = page.get_by_label("Temperature")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    expect(page.locator("#shown")).to_have_text("0.8")
    page.get_by_label("How many").fill("7")
    page.get_by_role("button", name="Invent names").press("Enter")

    expect(page.locator(".name[data-ended]")).to_have_count(7, timeout=ALL_ENDED_MS)
    names = page.locator(".name").all_inner_texts()
    assert all(name.startswith("ma") for name in names)
    letter = page.locator(".letter[title]").first
    assert "%" in str(letter.get_attribute("title"))
    letter.focus()
    expect(page.locator("#detail")).to_contain_text("likeliest")
    expect(page.locator("#checkpoint")).to_contain_text("step-4-")


def test_an_earlier_checkpoint_can_be_asked(page: Page) -> None:
    page.get_by_label("Model").select_option("documents@2")
    page.get_by_role("button", name="Invent names").click()

    expect(page.locator(".name[data-ended]")).to_have_count(10, timeout=ALL_ENDED_MS)
    expect(page.locator("#checkpoint")).to_contain_text("step-2-")


def test_what_the_sampler_refuses_is_said_on_the_page(page: Page) -> None:
    page.get_by_label("Begins with").fill("Ω")
    page.get_by_role("button", name="Invent names").click()

    expect(page.get_by_role("alert")).to_contain_text("Ω")
    expect(page.locator(".name")).to_have_count(0)


def test_a_sampler_with_api_keys_is_asked_with_one_from_the_page(
    shared_lab: Lab, browser: Browser
) -> None:
    """The field is there once it is needed; a wrong key is said, a right one remembered."""
    train = shared_lab.train(Job(steps=4), "--workers=1")
    train.summary()
    flags = (f"--run-dir={train.run_dir}", "--bind=tcp://127.0.0.1:0", "--api-key=sk-class")
    sampler = shared_lab.start("serve", *flags)
    page = browser.new_page(viewport={"width": 375, "height": 740})
    page.goto(sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2])
    invent = page.get_by_role("button", name="Invent names")
    key, alert = page.get_by_label("API key"), page.get_by_role("alert")
    expect(alert).to_have_text("the sampler wants an API key")

    key.fill("sk-other")
    invent.click()
    expect(alert).to_have_text("the sampler knows no such API key")
    key.fill("sk-class")
    invent.click()

    expect(page.locator(".name[data-ended]")).to_have_count(10, timeout=ALL_ENDED_MS)
    expect(alert).to_be_empty()
    expect(page.locator("#model option")).to_have_count(3)
    page.screenshot(path=SCREENSHOTS / "phone-api-key.png", full_page=True)
    page.close()
