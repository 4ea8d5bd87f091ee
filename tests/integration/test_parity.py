"""microgpt's own run through coordinator, worker and sockets: the published losses, bit for bit."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import test_microgpt_parity as single_process
from tests.integration.flock import Lab, Train

pytestmark = [
    pytest.mark.integration,
    pytest.mark.oracle,
    pytest.mark.usefixtures("same_libm"),
]

same_libm = single_process.same_libm

RUNS = {
    "relu": ("microgpt_losses.txt", ["--steps=1000"]),
    "relu2": ("microgpt_relu2_losses.txt", ["--steps=200", "--activation=relu2"]),
}


@pytest.fixture(scope="module")
def runs(shared_lab: Lab, canonical_names: Path) -> Iterator[dict[str, Train]]:
    """Both runs at once: a step has one document, and keeps one core busy."""
    said = ["--preset=microgpt", "--engine=eager", f"--data={canonical_names}", "--workers=1"]
    started = {name: shared_lab.train_with(*said, *flags) for name, (_, flags) in RUNS.items()}
    yield started
    for train in started.values():
        train.send(signal.SIGTERM)
    for train in started.values():
        assert train.exit_code() == 0, train.stderr


def recorded(golden: Path, name: str) -> list[float]:
    return single_process.recorded_losses(golden / RUNS[name][0])


def test_the_compiled_engine_gives_all_1000_losses_to_1e_10_and_the_same_20_names(
    shared_lab: Lab, canonical_names: Path, golden: Path
) -> None:
    """Fast, and still microgpt: what differs is less than the names can show."""
    train = shared_lab.train_with("--preset=microgpt", f"--data={canonical_names}", "--workers=1")
    summary = train.summary()

    assert train.losses() == pytest.approx(recorded(golden, "relu"), rel=0, abs=1e-10)
    assert len(train.losses()) == 1000
    assert " ".join(summary["samples"]) == single_process.NAMES


@pytest.mark.parametrize("name", RUNS)
def test_the_first_50_losses_of_a_distributed_run_are_those_of_microgpt(
    runs: dict[str, Train], golden: Path, name: str
) -> None:
    """Not close to the original: the original, though every document went over a socket."""
    runs[name].wait_for_step(50)

    assert runs[name].losses()[:50] == recorded(golden, name)[:50]


@pytest.mark.long
def test_all_losses_with_relu2_are_those_of_microgpt(runs: dict[str, Train], golden: Path) -> None:
    """The recorded run to its end, schedule and all."""
    runs["relu2"].summary(120)

    assert runs["relu2"].losses() == recorded(golden, "relu2")


@pytest.mark.long
def test_all_1000_losses_and_then_the_20_names_are_those_of_microgpt(
    runs: dict[str, Train], golden: Path
) -> None:
    """The names come last: every parameter and the generator must have stayed right till then."""
    summary = runs["relu"].summary(400)

    assert runs["relu"].losses() == recorded(golden, "relu")
    assert " ".join(summary["samples"]) == single_process.NAMES
