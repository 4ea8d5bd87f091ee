"""Worlds full of faults, in which every promise is kept after every event, and every run ends."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.params import weights_sha256
from tests.simulation.__main__ import main
from tests.simulation.arithmetic import oracle
from tests.simulation.mutants import with_a_liar_and_slow_saves
from tests.simulation.plan import STRANGE, Kind, Plan
from tests.simulation.world import simulate

pytestmark = pytest.mark.simulation

CHUNK = 100  # seeds; enough of them to see each kind of fault
KINDS = {
    *("lost", "duplicated", "reordered", "corrupted", "ghost", "foreign"),
    *("cut", "partition", "partition of one way"),
    *("worker crash", "stall", "hang", "leave", "nan", "lie"),
    *("coordinator crash", "coordinator stall", "coordinator stop", "other machine"),
    *("save failed", "record of a failed save", "metrics refused", "slow save"),
    *("killed before the record", "killed after the record"),
    *(kind.value for kind in STRANGE),
}
LIES_MAX = 80

TOLD = {  # what a coordinator has to say in such worlds
    *("StepCommitted", "MemberJoined", "MemberLost", "PeerRefused"),
    *("MessageDropped", "GradNotCounted", "BranchHedged", "LiarFound", "RunWentBack"),
    *("CheckpointDurable", "CheckpointFailed", "HeldOutEvaluated"),
}

SEEN = {  # what only shows where saves go on beside the loop
    *("a step committed during a save", "a last save given up", "too much at risk"),
    "other arithmetic refused",
}


def live(seeds: range) -> None:
    outcomes = [simulate(seed) for seed in seeds]
    faults, told, seen = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        faults += outcome.faults
        told += outcome.told
        seen += outcome.seen

    assert [str(outcome) for outcome in outcomes if outcome.broken] == []
    assert faults.keys() >= KINDS
    assert told.keys() >= TOLD
    assert seen.keys() >= SEEN


def chunks(first: int, last: int) -> list[range]:
    return [range(seed, seed + CHUNK) for seed in range(first, last, CHUNK)]


@pytest.mark.parametrize("seeds", chunks(0, 200), ids=str)
def test_every_promise_is_kept_under_every_kind_of_fault(seeds: range) -> None:
    live(seeds)


@pytest.mark.long
@pytest.mark.parametrize("seeds", chunks(200, 1200), ids=str)
def test_every_promise_is_kept_in_a_thousand_worlds_more(seeds: range) -> None:
    live(seeds)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_is_lived_through_alike_each_time(seed: int) -> None:
    once, again = simulate(seed, traces=True), simulate(seed, traces=True)

    assert once.trace == again.trace
    assert once == again


def test_a_replay_prints_what_happens_and_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["4"]) == 0

    first, *_, last = capsys.readouterr().out.splitlines()
    assert "starts" in first
    assert last == "seed 4 kept every promise"


def test_a_sweep_says_how_to_replay_what_it_finds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--first", "4", "--seeds", "1", "--mutant", "durable too early"]) == 1

    first, summary, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith('seed 4 broke "what is called durable is on disk" at step ')
    assert first.endswith(" — replay: make sim SEED=4")
    assert summary.startswith("1 seeds, 1 broke a promise; ")


# ---- strangers ----------------------------------------------------------------------------------


def in_peace(plan: Plan) -> Plan:
    """Nothing fails."""
    return replace(
        plan,
        quiet_s=1e4,
        calm_s=1e6,
        loss=0.0,
        duplication=0.0,
        reordering=0.0,
        corruption=0.0,
        save_failure=0.0,
        slow_save=0.0,
        other_machine=0.0,
        nan=0.0,
    )


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Kind.OLD_VERSION, "expected protocol version"),
        (Kind.OTHER_CONFIG, "run the same version of gradflock everywhere"),
        (Kind.OTHER_NUMERICS, "--accept-numerics"),
        (Kind.STALE_PARAMS, "of other parameters"),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_who_must_not_contribute_is_told_why(kind: Kind, sentence: str) -> None:
    def with_one_stranger(plan: Plan) -> Plan:
        return replace(in_peace(plan), steps=40, workers=1, strangers=(kind,), liars=0)

    outcome = simulate(0, alter=with_one_stranger)

    assert outcome.broken is None, str(outcome)
    assert [text for other, text in outcome.exits if other is kind and sentence in str(text)]


def test_a_run_stops_at_a_document_that_nobody_survives() -> None:
    def with_a_deadly_branch(plan: Plan) -> Plan:
        one = replace(in_peace(plan), workers=2, strangers=(), liars=0)
        return replace(one, audit=0.0, deadly_step=2)

    outcome = simulate(0, alter=with_a_deadly_branch)

    assert outcome.broken is None, str(outcome)
    assert outcome.told["StepCommitted"] == 2
    assert outcome.told["MemberLost"] == 3


# ---- the way back -------------------------------------------------------------------------------


def test_a_save_under_way_is_revoked_with_the_rest_and_a_run_that_cannot_go_back_leaves() -> None:
    outcomes = [simulate(seed, alter=with_a_liar_and_slow_saves) for seed in range(25)]

    assert [str(outcome) for outcome in outcomes if outcome.broken] == []
    assert any(outcome.seen["a save revoked under way"] for outcome in outcomes)
    assert any(outcome.faults["going back failed"] for outcome in outcomes)


# ---- liars --------------------------------------------------------------------------------------


def one_liar(steps: int) -> Callable[[Plan], Plan]:
    """Two honest workers and a liar, in a run of so many steps."""

    def alter(plan: Plan) -> Plan:
        one = replace(in_peace(plan), workers=2, strangers=(), liars=1)
        return replace(one, steps=steps, lie=0.9, audit=0.1)

    return alter


def assert_liar_is_found(seed: int) -> None:
    """A slow liar has little to say in a short run: give it time for its eighty lies."""
    for steps in (60, 600):
        outcome = simulate(seed, alter=one_liar(steps))
        assert outcome.broken is None, str(outcome)
        assert 0 < outcome.faults["lie"] < LIES_MAX
        if outcome.told["LiarFound"]:
            break
    assert outcome.told["LiarFound"] == 1
    assert outcome.weights_sha256 == weights_sha256(oracle(steps).params[-1])


@pytest.mark.parametrize("seeds", [range(50)], ids=str)
def test_a_liar_is_found_in_time_and_leaves_no_trace_in_the_weights(seeds: range) -> None:
    for seed in seeds:
        assert_liar_is_found(seed)


@pytest.mark.long
@pytest.mark.parametrize("seeds", chunks(50, 250), ids=str)
def test_two_hundred_liars_are_found_in_time(seeds: range) -> None:
    for seed in seeds:
        assert_liar_is_found(seed)
