"""What people are shown of a run, and what one process tells another."""

import io
import json
import math
from typing import get_args

import pytest

from cli.live_view import LiveView, LossCurve, choose_view
from cli.view import JsonView, PlainView, Said, describe, read_fact
from coordinator.facts import (
    BranchHedged,
    CheckpointDurable,
    CheckpointFailed,
    CheckpointPassedOver,
    ConnectionRefused,
    Fact,
    GradNotCounted,
    HeldOutEvaluated,
    LiarFound,
    MemberJoined,
    MemberLost,
    MemberSeen,
    MembersSeen,
    MessageDropped,
    PeerRefused,
    RunWentBack,
    SaveStuck,
    StepCommitted,
)

pytestmark = pytest.mark.unit

FACTS = [
    StepCommitted(3, 2 / 3, 8, 0.1, 2, 0.01, 34, 33, {"compute": 0.05}, {"wte": 0.25}),
    MemberJoined("w1-ab", "höst", 11, 2),
    MembersSeen((MemberSeen("w1-ab", "computing", 41.5, 7), MemberSeen("w2", "waiting", 0.0, 0))),
    MemberLost("w1-ab", "it fell silent", 2, 1),
    PeerRefused("a stranger", 'expected "1"\n got 2'),
    ConnectionRefused("10.0.0.7", "has no CURVE keys", 7),
    MessageDropped("expected 3 frames, got 1", 7),
    GradNotCounted("w1-ab", 3, "MISMATCH"),
    BranchHedged("w1-ab", 3, 2, 4, 0.25, 1),
    LiarFound("w1-ab", 3, 2, 4),
    RunWentBack(9, 3),
    CheckpointDurable(3, 0.5, 0),
    CheckpointFailed(3, "no space", 7, 1),
    CheckpointPassedOver("expected a checkpoint, got none"),
    SaveStuck(3, 31.0, 7),
    HeldOutEvaluated(3, 7 / 3),
]


def committed(step: int, loss: float = 2.5) -> StepCommitted:
    return StepCommitted(step, loss, 8, 0.5, 2, 0.01)


# ---- from one process to another ----------------------------------------------------------------


def test_there_is_an_example_of_every_fact() -> None:
    assert {type(fact) for fact in FACTS} == set(get_args(Fact))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_is_one_line_and_comes_back(fact: Fact) -> None:
    stream = io.StringIO()

    JsonView(stream).observe(fact)

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["fact"] == type(fact).__name__
    assert read_fact(line) == fact


def test_a_loss_that_is_no_number_comes_back() -> None:
    stream = io.StringIO()
    JsonView(stream).observe(committed(1, math.nan))

    fact = read_fact(stream.getvalue())

    assert isinstance(fact, StepCommitted)
    assert math.isnan(fact.loss)


def test_what_is_said_is_a_line_too() -> None:
    stream = io.StringIO()

    JsonView(stream).say("two\nlines")

    assert stream.getvalue().count("\n") == 1
    assert read_fact(stream.getvalue()) == Said("two\nlines")


@pytest.mark.parametrize(
    "line",
    [
        "gradflock: expected a run directory",
        "",
        "5",
        "null",
        "[]",
        '"say"',
        "{}",
        '{"fact": "Unheard"}',
        '{"fact": "CheckpointDurable"}',
        '{"fact": "CheckpointDurable", "step": 1, "seconds": 0.5, "failed_before": 0, "more": 2}',
        '{"fact": ["CheckpointDurable"], "step": 1}',
    ],
)
def test_any_other_line_is_itself(line: str) -> None:
    assert read_fact(line) == line


def test_of_many_steps_some_are_told_and_the_newest_before_anything_else() -> None:
    stream = io.StringIO()
    view = JsonView(stream)

    for step in range(1, 500):
        view.observe(committed(step))
    view.observe(CheckpointDurable(499, 0.5, 0))
    view.observe(committed(500))
    view.close()

    told = [read_fact(line) for line in stream.getvalue().splitlines()]
    steps = [fact.step for fact in told if isinstance(fact, StepCommitted)]
    assert steps[0] == 1
    assert len(steps) < 100
    assert told[-3:] == [committed(499), CheckpointDurable(499, 0.5, 0), committed(500)]


def test_a_run_goes_on_when_nobody_reads_any_more() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    JsonView(Gone()).observe(committed(1))


# ---- for people ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (MemberJoined("w1", "host", 11, 2), "w1 joined from host (workers 2)"),
        (
            MemberLost("w1", "it fell silent", 2, 1),
            "w1 lost: it fell silent, branches freed: 2 (workers 1)",
        ),
        (MemberLost("w1", "it said goodbye", 0, 1), "w1 lost: it said goodbye (workers 1)"),
        (PeerRefused("w1", "too old"), "refused w1: too old"),
        (MessageDropped("bad", 3), "dropped message 3: bad"),
        (GradNotCounted("w1", 3, "MISMATCH"), "gradient of w1 for step 3 not counted: MISMATCH"),
        (
            CheckpointFailed(3, "no space", 7, 1),
            "step 3 is not saved: no space; training goes on, 7 steps are at risk",
        ),
        (CheckpointFailed(9, "no space", 7, 99), ""),
        (
            CheckpointPassedOver("expected a checkpoint, got none"),
            "passed over a checkpoint: expected a checkpoint, got none",
        ),
        (
            SaveStuck(3, 31.0, 7),
            "step 3 is being saved for 31 s; training goes on, 7 steps are at risk",
        ),
        (CheckpointDurable(3, 0.5, 0), ""),
        (CheckpointDurable(3, 0.5, 4), "step 3 is saved, after 4 saves that failed"),
        (StepCommitted(3, 1.0, 8, 0.1, 2, 0.01), ""),
        (HeldOutEvaluated(3, 2.5), ""),
    ],
)
def test_what_happens_is_a_sentence(fact: Fact, line: str) -> None:
    assert describe(fact) == line


def test_of_many_dropped_messages_few_are_shown() -> None:
    shown = [i for i in range(1, 100_001) if describe(MessageDropped("bad", i))]

    assert shown == [*range(1, 11), 100, 1000, 10_000, 100_000]


def test_progress_is_shown_for_the_first_step_and_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = PlainView(50)

    for step in range(1, 51):
        view.observe(committed(step, 50.0 / step))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "step 1/50  loss 50.0000  16.0 documents/s  workers 2",
        "step 50/50  loss 1.0000  16.0 documents/s  workers 2",
    ]


def test_progress_shows_the_newest_held_out_loss(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView(3)

    view.observe(HeldOutEvaluated(0, 3.29583))
    view.observe(committed(1))
    view.observe(HeldOutEvaluated(1, 3.0))
    view.observe(committed(2))
    view.observe(HeldOutEvaluated(2, 2.37194))
    view.observe(committed(3))

    assert capsys.readouterr().err.splitlines() == [
        "step 1/3  loss 2.5000  held-out 3.2958 (step 0)  16.0 documents/s  workers 2",
        "step 3/3  loss 2.5000  held-out 2.3719 (step 2)  16.0 documents/s  workers 2",
    ]


def test_the_shown_rate_is_that_of_the_last_steps(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView(40)

    for step in range(1, 41):
        view.observe(StepCommitted(step, 1.0, 8, 100.0 if step <= 20 else 0.25, 2, 0.01))

    assert "32.0 documents/s" in capsys.readouterr().err.splitlines()[-1]


def test_what_happens_is_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView(50)

    view.observe(MemberJoined("w1", "host", 11, 1))
    view.observe(CheckpointDurable(3, 0.5, 0))
    view.say("a word")

    assert capsys.readouterr().err == "w1 joined from host (workers 1)\na word\n"


def test_steps_that_are_computed_again_are_not_shown_as_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, live = PlainView(9), LiveView(9)
    for view in (plain, live):
        view.observe(HeldOutEvaluated(8, 2.5))
        view.go_back(4)
    live.close()
    plain.observe(committed(5))

    shown = capsys.readouterr().err
    assert "step 4/9" in shown
    assert "step 5/9  loss 2.5000  16.0 documents/s  workers 2  durable 4" in shown


def test_without_a_terminal_lines_are_plain() -> None:
    assert isinstance(choose_view("text", 5), PlainView)
    assert isinstance(choose_view("json", 5), JsonView)


def test_on_a_terminal_the_held_out_loss_of_the_last_step_is_shown_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = LiveView(1)

    view.observe(committed(1))
    view.observe(HeldOutEvaluated(1, 2.37194))
    view.close()

    assert "loss 2.5000  held-out 2.3719 (step 1)" in capsys.readouterr().err


def test_on_a_terminal_names_in_brackets_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = LiveView(50)

    view.observe(MemberJoined("[red]w1", "host", 11, 1))
    view.observe(committed(1))
    view.close()

    assert "[red]w1 joined from host" in capsys.readouterr().err


def test_on_a_terminal_people_see_what_a_step_costs_and_who_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = LiveView(50)

    view.observe(
        StepCommitted(
            *(1, 2.5, 8, 0.002, 2, 0.01, 34_000, 33_000),
            {"compute": 0.0015, "adam": 0.0004, "checkpoint": 0.0},
            {"wte": 0.25},
        )
    )
    view.observe(MembersSeen((MemberSeen("[b]w1", "computing", 1234.5, 7),)))
    view.observe(CheckpointDurable(1, 0.004, 0))
    view.close()

    shown = capsys.readouterr().err
    assert "step  2.00 ms  67 kB  compute 75 %  adam 20 %" in shown
    assert "gradient norms  wte 0.25" in shown
    assert "durable  1 (4 ms)" in shown
    assert "[b]w1  computing  1,234 documents/s alone  last in 7 steps" in shown
    assert "checkpoint 0" not in shown


def test_of_many_workers_some_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView(50)

    view.observe(MembersSeen(tuple(MemberSeen(f"w{i}", "waiting", 1.0, 0) for i in range(10))))
    view.close()

    shown = capsys.readouterr().err
    assert "w7" in shown
    assert "w8" not in shown
    assert "and 2 more" in shown


def test_a_curve_falls_from_the_first_step_to_the_newest() -> None:
    curve = LossCurve(cells=8)

    for step in range(1000):
        curve.add(3.0 - step / 1000)

    assert str(curve)[0] == "█"
    assert str(curve)[-1] == "▁"
    assert 4 < len(str(curve)) <= 8
    assert sorted(str(curve), reverse=True) == list(str(curve))


@pytest.mark.parametrize("losses", [[], [math.nan], [2.5], [2.5, math.inf, 2.5], [2.5] * 100])
def test_a_curve_of_any_numbers_can_be_drawn(losses: list[float]) -> None:
    curve = LossCurve(cells=8)

    for loss in losses:
        curve.add(loss)

    assert set(str(curve)) <= {"▁"}
