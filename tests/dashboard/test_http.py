"""The dashboard's server, asked by others than its page."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dashboard.http import STREAMS_MAX, HttpDoor, policy_of
from dashboard.view import View
from tests.dashboard.fake_coordinator import RUN, FakeCoordinator, checkpoint, save
from tests.dashboard.running import Running, events
from tests.integration.flock import wait_until
from tests.memory import rss_bytes

pytestmark = pytest.mark.integration

FLOOD_TELLS = 400
FLOOD_BYTES = 300_000  # of each view: 120 MB in all
GROWTH_BYTES_MAX = 40_000_000


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[FakeCoordinator]:
    with FakeCoordinator(tmp_path / "run") as coordinator:
        coordinator.advance(30)
        save(tmp_path / "run", checkpoint(10), checkpoint(25))
        yield coordinator


@pytest.fixture
def dashboard(coordinator: FakeCoordinator, tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "run") as running:
        yield running


# ---- for scripts ---------------------------------------------------------------------------------


def test_a_script_is_given_a_fresh_view(dashboard: Running, coordinator: FakeCoordinator) -> None:
    first = dashboard.state()
    coordinator.advance(12)
    later = wait_until("the next steps", lambda: (s := dashboard.state())["run"]["step"] > 30 and s)

    assert first["state"] == "here"
    assert first["run"]["step"] == 30
    assert [member["worker"] for member in first["members"]] == ["worker-a", "worker-b"]
    assert later["steps"][-1]["step"] == 42
    assert later["tree"]["step"] == 43
    assert later["losses"][-1][0] == 42
    assert later["held_out"][-1][0] == 25


def test_names_of_all_checkpoints_are_there_soon(dashboard: Running) -> None:
    names = wait_until("names", lambda: len(n := dashboard.state()["names"]) == 2 and n)

    assert [one["step"] for one in names] == [10, 25]
    assert names[1]["held_out_loss"] is not None


def test_prometheus_reads_its_metrics(dashboard: Running) -> None:
    reply = httpx.get(f"{dashboard.url}/metrics")

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert families["gradflock_up"].samples[0].value == 1
    assert families["gradflock_step"].samples[0].value == 30


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8090", "localhost.evil.example"])
def test_a_page_elsewhere_that_gives_its_name_our_address_reads_nothing(
    dashboard: Running, name: str
) -> None:
    """The browser takes it for the page's own server, but says by which name it asks."""
    for path in ("/", "/events", "/api/state", "/metrics"):
        reply = httpx.get(f"{dashboard.url}{path}", headers={"Host": name})

        assert reply.status_code == 400
        assert "worker" not in reply.text


@pytest.mark.parametrize("name", ["localhost:8090", "127.0.0.1", "[::1]:8090"])
def test_this_machine_may_be_called_by_any_of_its_names(dashboard: Running, name: str) -> None:
    assert httpx.get(f"{dashboard.url}/health", headers={"Host": name}).status_code == 200


def test_nobody_is_asked_while_nobody_looks(
    dashboard: Running, coordinator: FakeCoordinator
) -> None:
    httpx.get(f"{dashboard.url}/health").raise_for_status()
    httpx.get(dashboard.url).raise_for_status()
    assert coordinator.asked[b"STATUS"] == 0

    dashboard.state()
    assert coordinator.asked[b"STATUS"] == 1


def test_a_directory_without_a_run_is_no_reason_to_end(tmp_path: Path) -> None:
    with Running(tmp_path / "later") as running:
        assert running.state()["state"] == "away"
        with FakeCoordinator(tmp_path / "later") as coordinator:
            coordinator.advance(3)
            wait_until("the run", lambda: running.state()["state"] == "here")


def test_an_older_coordinator_is_shown_without_a_timeline(tmp_path: Path) -> None:
    with FakeCoordinator(tmp_path / "run") as coordinator, Running(tmp_path / "run") as running:
        coordinator.knows_timeline = False
        state = running.state()

    assert (state["state"], state["steps"]) == ("here", [])
    assert len(state["members"]) == 2


def test_a_coordinator_that_is_silent_is_away_and_comes_back(
    dashboard: Running, coordinator: FakeCoordinator
) -> None:
    assert dashboard.state()["state"] == "here"
    coordinator.is_silent = True
    state = wait_until("silence", lambda: (s := dashboard.state())["state"] == "away" and s)
    assert state["steps"], "the last picture stays"
    assert "gradflock_up 0.0" in httpx.get(f"{dashboard.url}/metrics").text

    coordinator.is_silent = False
    wait_until("an answer", lambda: dashboard.state()["state"] == "here")


def test_an_address_that_another_run_has_taken_over_is_not_believed(
    dashboard: Running, coordinator: FakeCoordinator
) -> None:
    wait_until("a checkpoint", lambda: dashboard.state()["names"])
    coordinator.run = "ab" * 16

    wait_until("the stranger", lambda: dashboard.state()["state"] == "away")
    assert dashboard.state()["run"]["id"] == RUN


# ---- the stream ----------------------------------------------------------------------------------


def test_a_page_is_sent_everything_and_then_what_is_new(
    dashboard: Running, coordinator: FakeCoordinator
) -> None:
    with httpx.stream("GET", f"{dashboard.url}/events") as response:
        told = events(response)
        everything = next(told)
        news = next(told)
        known = everything["losses"] + news["losses"]["items"]
        coordinator.advance(3)
        later = next(one for one in told if "losses" in one)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert everything["kind"] == "everything"
    assert news["kind"] == later["kind"] == "news"
    assert len(known) == 30
    assert later["losses"]["from"] == 30
    assert [step for step, _ in later["losses"]["items"]] == [31, 32, 33]
    assert "names" not in later


def test_all_pages_cost_the_coordinator_as_much_as_one(
    dashboard: Running, coordinator: FakeCoordinator
) -> None:
    with ExitStack() as stack:
        streams = []
        for _ in range(8):
            streams.append(stack.enter_context(httpx.stream("GET", f"{dashboard.url}/events")))
        told = [events(stream) for stream in streams]
        before = coordinator.asked[b"TIMELINE"]
        for number in range(3):
            coordinator.advance()
            for one in told:
                next(e for e in one if e.get("run", {}).get("step") == 31 + number)
        asked = coordinator.asked[b"TIMELINE"] - before

    assert asked <= 8  # not 24: three looks, and one or two that saw nothing new


def test_one_page_too_many_is_told_to_come_back(dashboard: Running) -> None:
    with ExitStack() as stack:
        for _ in range(STREAMS_MAX):
            stack.enter_context(httpx.stream("GET", f"{dashboard.url}/events"))
        with httpx.stream("GET", f"{dashboard.url}/events") as refused:
            assert refused.status_code == 503
            assert refused.headers["retry-after"]

    def is_open() -> bool:
        with httpx.stream("GET", f"{dashboard.url}/events") as response:
            return response.status_code == 200

    wait_until("room", is_open)


def test_a_stop_ends_the_streams(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    running = Running(tmp_path / "run")
    with running, httpx.stream("GET", f"{running.url}/events") as response:
        told = events(response)
        next(told)
        running.__exit__()

        assert len([*told]) <= 2, "what was under way, and then the end"


# ---- readers that do not read --------------------------------------------------------------------


class Flood:
    """A desk whose view is large, and another each time."""

    def __init__(self) -> None:
        self.view = View()
        self.pages = 0
        self.has_ended = threading.Event()

    def turn(self, number: int) -> None:
        text = f"{number:09d}" * (FLOOD_BYTES // 9)
        self.view = replace(self.view, run={"name": text})

    def opened(self) -> None:
        self.pages += 1

    def closed(self) -> None:
        self.pages -= 1
        self.has_ended.set()

    def fresh(self) -> View:
        return self.view


def test_a_reader_that_stops_reading_costs_little_memory_and_is_left() -> None:
    desk = Flood()
    door = HttpDoor(desk, "127.0.0.1", 0, b"<script></script><style></style>", "1.0")
    address = ("127.0.0.1", int(door.address.rpartition(":")[2]))
    stalled = socket.create_connection(address)
    stalled.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until("the page", lambda: desk.pages == 1)
    with httpx.stream("GET", f"{door.address}/events") as response:
        told = events(response)
        next(told)
        before_bytes = rss_bytes()
        for number in range(FLOOD_TELLS):
            desk.turn(number)
            door.tell()
            next(told)  # who reads is sent every one of them, beside who does not
        grown_bytes = rss_bytes() - before_bytes
        assert grown_bytes < GROWTH_BYTES_MAX
        assert desk.has_ended.wait(30.0), "who takes nothing for long is left"
        assert desk.pages == 1
    stalled.close()
    door.drain()
    assert door.join(30.0)


# ---- what the page may do ------------------------------------------------------------------------


def test_the_page_may_run_its_own_script_and_nothing_else(dashboard: Running) -> None:
    reply = httpx.get(dashboard.url)

    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in reply.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in reply.text
    assert "innerHTML" not in reply.text


def test_each_script_of_a_page_is_allowed_by_its_own_hash() -> None:
    one, two = policy_of(b"<script>1</script>"), policy_of(b"<script>2</script>")

    assert one != two


@pytest.mark.parametrize("path", ["/nothing", "/events/", "/page.html", "/../pyproject.toml"])
def test_other_paths_are_not_there(dashboard: Running, path: str) -> None:
    assert httpx.get(f"{dashboard.url}{path}").status_code in (404, 307)


def test_nothing_can_be_changed(dashboard: Running) -> None:
    for path in ("/", "/api/state", "/events", "/metrics", "/health"):
        assert httpx.post(f"{dashboard.url}{path}", content=json.dumps({})).status_code == 405
