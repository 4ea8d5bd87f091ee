"""metrics.jsonl after every kind of end: no step twice, none missing, nothing foreign kept."""

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics, held_out_loss_of
from tests.coordinator.disk import full_disk

pytestmark = pytest.mark.unit


def committed(step: int) -> StepCommitted:
    return StepCommitted(step, 1.0 / (step + 2), 8, 0.5, 2, 0.01)


def written(path: Path, *steps: int) -> str:
    """The text of a file to which these steps were appended."""
    with Metrics(path, 0) as metrics:
        for step in steps:
            metrics.append(committed(step))
    return path.read_text()


def test_each_step_is_a_line_with_every_fact_in_full(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2)

    first, second = text.splitlines()
    assert json.loads(first) == {
        "step": 1,
        "loss": 1 / 3,
        "documents": 8,
        "seconds": 0.5,
        "workers": 2,
        "learning_rate": 0.01,
    }
    assert json.loads(second)["step"] == 2


def test_a_line_is_there_as_soon_as_it_is_flushed(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.flush()

        assert (tmp_path / "m").read_text().endswith("}\n")


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_lines_after_the_resumed_step_are_forgotten(tmp_path: Path, step: int) -> None:
    text = written(tmp_path / "m", 1, 2, 3, 4, 5)

    with Metrics(tmp_path / "m", step):
        pass

    assert (tmp_path / "m").read_text() == "".join(text.splitlines(keepends=True)[:step])


def test_a_resumed_file_is_that_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", 1, 2, 3, 4)
    written(tmp_path / "m", 1, 2, 3)

    with Metrics(tmp_path / "m", 2) as metrics:
        metrics.append(committed(3))
        metrics.append(committed(4))

    assert (tmp_path / "m").read_text() == whole


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2, 3)
    (tmp_path / "m").write_text(text[:-10])

    with Metrics(tmp_path / "m", 3):
        pass

    assert (tmp_path / "m").read_text() == "".join(text.splitlines(keepends=True)[:2])


def test_a_last_line_without_its_end_is_forgotten(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2)
    (tmp_path / "m").write_text(text[:-1])

    with Metrics(tmp_path / "m", 2):
        pass

    assert (tmp_path / "m").read_text() == text.splitlines(keepends=True)[0]


@pytest.mark.parametrize("line", ["not JSON\n", "[]\n", "null\n", "{}\n", '{"step": "2"}\n', "\n"])
def test_a_foreign_line_ends_what_is_kept(tmp_path: Path, line: str) -> None:
    first = written(tmp_path / "m", 1)
    (tmp_path / "m").write_text(first + line)

    with Metrics(tmp_path / "m", 2):
        pass

    assert (tmp_path / "m").read_text() == first


@pytest.mark.parametrize(
    ("steps", "step", "kept"), [([1, 1], 1, 1), ([1, 2, 2, 3], 2, 2), ([1, 2, 3, 2, 3], 3, 3)]
)
def test_a_step_that_was_written_twice_is_kept_once(
    tmp_path: Path, steps: list[int], step: int, kept: int
) -> None:
    text = written(tmp_path / "m", *steps)

    with Metrics(tmp_path / "m", step) as metrics:
        assert metrics.complaint == ""

    assert (tmp_path / "m").read_text() == "".join(text.splitlines(keepends=True)[:kept])


def test_a_name_in_the_directory_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = []

    def look(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            named.append(os.listdir(descriptor))

    monkeypatch.setattr(os, "fsync", look)

    with Metrics(tmp_path / "m", 0):
        pass

    assert named == [["m"]]


# ---- lines that are not as they were written ----------------------------------------------------


@pytest.mark.parametrize(
    "damaged",
    [b"\xff", b"\0" * 200, b"not JSON", b"", b"[" * 100_000, b"\r", b'{"step": "2"}', b'{"step":'],
    ids=lambda line: str(line[:9]),
)
def test_a_damaged_line_costs_no_line_behind_it(tmp_path: Path, damaged: bytes) -> None:
    lines = written(tmp_path / "m", 1, 2, 3, 4, 5, 6).encode().splitlines(keepends=True)
    lines[1] = damaged + b"\n"
    (tmp_path / "m").write_bytes(b"".join(lines))

    with Metrics(tmp_path / "m", 5) as metrics:
        assert metrics.complaint == (
            "expected one line for each step up to 5, got none for 2"
            f" — {tmp_path / 'm'}; the run goes on"
        )
        metrics.append(committed(6))

    assert (tmp_path / "m").read_bytes() == b"".join(lines)


def test_one_byte_that_is_no_text_changes_the_length_of_nothing(tmp_path: Path) -> None:
    """It is three bytes when it is replaced by what stands for such bytes."""
    content = bytearray(written(tmp_path / "m", 1, 2, 3).encode())
    content[5] = 0xFF
    (tmp_path / "m").write_bytes(content)

    with Metrics(tmp_path / "m", 3) as metrics:
        assert "got none for 1 —" in metrics.complaint
        metrics.append(committed(4))

    assert (tmp_path / "m").read_bytes() == content + written(tmp_path / "4", 4).encode()


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([1, 2, 4], "none for 3"),
        ([4], "none for 1, with 2 more steps at fault"),
        ([1, 1, 2, 3, 4], "2 for 1"),
        ([1, 2, 3, 3, 3, 4], "3 for 3"),
        ([1, 2, 7, 3, 4], "1 more, of no such step"),
    ],
)
def test_lines_that_are_not_one_for_each_step_are_told_and_stay(
    tmp_path: Path, steps: list[int], found: str
) -> None:
    text = written(tmp_path / "m", *steps)

    with Metrics(tmp_path / "m", 4) as metrics:
        assert f"expected one line for each step up to 4, got {found} — " in metrics.complaint

    assert (tmp_path / "m").read_text() == text


def test_a_run_that_begins_has_nothing_to_complain_of(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        assert metrics.complaint == ""


# ---- a disk that refuses ------------------------------------------------------------------------


def test_what_was_appended_can_be_made_durable(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.settle()
        metrics.sync()

    assert len((tmp_path / "m").read_text().splitlines()) == 1


@contextmanager
def doubtful(path: Path) -> Iterator[Metrics]:
    """Metrics of step 1, whose fsync was refused."""
    with Metrics(path, 0) as metrics:
        metrics.append(committed(1))
        metrics.settle()
        with pytest.MonkeyPatch.context() as disk:
            disk.setattr(os, "fsync", refuse)
            with pytest.raises(OSError, match="Input/output error"):
                metrics.sync()
        yield metrics


def refuse(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_after_an_fsync_that_failed_the_file_is_written_anew(tmp_path: Path) -> None:
    """The kernel may have dropped what it could not write, and the next fsync would not tell."""
    with doubtful(tmp_path / "m") as metrics:
        before = (tmp_path / "m").stat().st_ino
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()
        assert (tmp_path / "m").stat().st_ino != before
        now = (tmp_path / "m").stat().st_ino
        metrics.append(committed(3))
        metrics.settle()
        metrics.sync()
        assert (tmp_path / "m").stat().st_ino == now

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_a_file_that_is_written_anew_may_be_read_by_whoever_could_read_it(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        (tmp_path / "m").chmod(0o664)

        metrics.sync()

    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o664


def test_the_loop_leaves_a_doubtful_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with doubtful(tmp_path / "m") as metrics:
        monkeypatch.setattr(os, "fsync", refuse)
        before = (tmp_path / "m").stat()
        metrics.append(committed(2))
        metrics.flush()
        metrics.hold(3)
        metrics.append(committed(3))
        metrics.settle()

        after = (tmp_path / "m").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_doubtful_line_is_not_completed(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        metrics.go_back(1)
        metrics.hold(1)
        metrics.complete(1, 2.5)
        assert steps_in(tmp_path / "m") == [(1, -1)]
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]


def test_no_step_waits_while_the_file_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk takes seconds for it."""
    has_begun, may_end = Event(), Event()

    def be_slow(_descriptor: int) -> None:
        has_begun.set()
        assert may_end.wait(60)

    with doubtful(tmp_path / "m") as metrics:
        metrics.append(committed(2))
        metrics.settle()
        monkeypatch.setattr(os, "fsync", be_slow)
        saving = Thread(target=metrics.sync)
        saving.start()
        assert has_begun.wait(60)
        for step in (3, 4):
            metrics.append(committed(step))
            metrics.flush()
        metrics.hold(5)
        metrics.append(committed(5))
        metrics.settle()
        metrics.append(committed(6))
        metrics.flush()
        may_end.set()
        saving.join()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]
        metrics.append(committed(7))
        metrics.flush()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3, 4, 5, 6, 7)


def test_a_new_file_that_there_is_no_room_for_is_tried_again(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        metrics.append(committed(2))
        metrics.settle()
        with full_disk(), pytest.raises(OSError, match="large"):
            metrics.sync()
        assert steps_in(tmp_path / "m") == [(1, -1)]
        metrics.append(committed(3))
        metrics.settle()
        metrics.sync()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_a_run_that_goes_back_in_a_doubtful_file_leaves_nothing_of_what_was_undone(
    tmp_path: Path,
) -> None:
    with doubtful(tmp_path / "m") as metrics:
        for step in (2, 3):
            metrics.append(committed(step))
        metrics.settle()
        metrics.go_back(1)
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2)


def test_a_full_disk_keeps_lines_waiting_and_settle_says_so(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        with full_disk():
            metrics.append(committed(1))
            metrics.flush()
            metrics.append(committed(2))
            metrics.flush()
            with pytest.raises(OSError, match="large"):
                metrics.settle()
        metrics.append(committed(3))

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_lines_that_a_crash_of_the_machine_took_are_missed_and_the_others_stay(
    tmp_path: Path,
) -> None:
    text = written(tmp_path / "m", 1, 2, 5, 6)

    with Metrics(tmp_path / "m", 6):
        pass

    assert (tmp_path / "m").read_text() == text


def test_bytes_that_are_no_text_are_forgotten(tmp_path: Path) -> None:
    first = written(tmp_path / "m", 1)
    (tmp_path / "m").write_bytes(first.encode() + b"\xff\xfe\x00")

    with Metrics(tmp_path / "m", 1):
        pass

    assert (tmp_path / "m").read_text() == first


# ---- the held-out loss --------------------------------------------------------------------------


def steps_in(path: Path) -> list[tuple[int, float | None]]:
    """Each line's step and held-out loss; -1 where there is none."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["step"], line.get("held_out_loss", -1)) for line in lines]


def stopped_at(path: Path, step: int) -> None:
    """Leave the file of a run whose last line was written before its evaluation was done."""
    with Metrics(path, 0) as metrics:
        for done in range(1, step + 1):
            metrics.append(committed(done))
        metrics.hold(step)
        metrics.settle()


def test_the_line_of_a_step_that_is_evaluated_waits_and_later_lines_wait_behind_it(
    tmp_path: Path,
) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.append(committed(2))
        metrics.hold(2)
        metrics.append(committed(3))
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, -1)]

        metrics.complete(2, 7 / 3)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, 7 / 3), (3, -1)]


def test_one_evaluation_after_the_other_keeps_the_lines_in_order(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.append(committed(2))
        metrics.append(committed(3))
        metrics.complete(1, 2.5)
        metrics.hold(3)
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, 2.5), (2, -1)]
        metrics.complete(3, 1.5)

    assert steps_in(tmp_path / "m") == [(1, 2.5), (2, -1), (3, 1.5)]


def test_a_late_answer_to_another_step_releases_nobody(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.append(committed(2))
        metrics.hold(2)
        metrics.complete(1, 2.5)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_held_out_loss_that_is_not_finite_is_null(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, math.nan)

    assert steps_in(tmp_path / "m") == [(1, None)]


def test_the_start_of_a_run_has_no_line_that_others_could_wait_for(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.hold(0)
        metrics.append(committed(1))
        metrics.flush()
        metrics.complete(0, 3.0)

        assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_durable_step_has_its_line_even_without_its_held_out_loss(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.append(committed(2))
        metrics.settle()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]

        metrics.complete(1, 2.5)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]


def test_lines_that_wait_are_written_at_the_end(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.flush()

    assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_run_that_goes_on_completes_the_line_it_goes_on_from(tmp_path: Path) -> None:
    stopped_at(tmp_path / "m", 2)

    with Metrics(tmp_path / "m", 2) as metrics:
        assert not metrics.is_evaluated
        metrics.hold(2)
        metrics.append(committed(3))
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]
        metrics.complete(2, 7 / 3)
        metrics.flush()

    assert steps_in(tmp_path / "m") == [(1, -1), (2, 7 / 3), (3, -1)]
    with Metrics(tmp_path / "m", 2) as metrics:
        assert metrics.is_evaluated


def test_a_completed_line_is_that_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    with Metrics(tmp_path / "whole", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, 2.5)
    stopped_at(tmp_path / "m", 1)

    with Metrics(tmp_path / "m", 1) as metrics:
        metrics.hold(1)
        metrics.complete(1, 2.5)

    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_line_that_a_full_disk_does_not_let_grow_stays_as_it_was(tmp_path: Path) -> None:
    stopped_at(tmp_path / "m", 2)
    before = (tmp_path / "m").read_text()

    with Metrics(tmp_path / "m", 2) as metrics:
        metrics.hold(2)
        with full_disk(len(before) + 5):
            metrics.complete(2, 7 / 3)
        assert (tmp_path / "m").read_text() == before
        metrics.append(committed(3))

    assert steps_in(tmp_path / "m") == [(1, -1), (2, -1), (3, -1)]


def test_what_a_crash_leaves_behind_a_line_that_it_was_to_complete_is_forgotten(
    tmp_path: Path,
) -> None:
    text = written(tmp_path / "m", 1)
    (tmp_path / "m").write_text(text + '"held_out_loss": 2.5}\n')

    with Metrics(tmp_path / "m", 1):
        pass

    assert (tmp_path / "m").read_text() == text


@pytest.mark.parametrize("step", [0, 1, 3])
def test_only_the_step_that_a_run_goes_on_from_counts_as_evaluated(
    tmp_path: Path, step: int
) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for done in (1, 2, 3):
            metrics.append(committed(done))
            metrics.hold(done if done == 2 else 0)
            metrics.complete(2, 2.5)

    with Metrics(tmp_path / "m", step) as metrics:
        assert not metrics.is_evaluated


def test_the_held_out_loss_of_a_step_is_read_back(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for step, held_out_loss in ((1, 7 / 3), (2, math.nan)):
            metrics.append(committed(step))
            metrics.hold(step)
            metrics.complete(step, held_out_loss)
        metrics.append(committed(3))

    assert held_out_loss_of(tmp_path / "m", 1) == 7 / 3
    assert math.isnan(held_out_loss_of(tmp_path / "m", 2) or 0.0)
    assert held_out_loss_of(tmp_path / "m", 3) is None
    assert held_out_loss_of(tmp_path / "m", 4) is None
    assert held_out_loss_of(tmp_path / "absent", 1) is None


def test_a_run_that_goes_back_has_no_line_twice_and_none_of_what_was_undone(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for step in (1, 2, 3):
            metrics.append(committed(step))
        metrics.flush()
        metrics.hold(4)
        for step in (4, 5):
            metrics.append(committed(step))

        metrics.go_back(2)
        metrics.complete(4, 2.5)
        for step in (3, 4):
            metrics.append(committed(step))

    steps = [json.loads(line)["step"] for line in (tmp_path / "m").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_run_that_goes_back_forgets_the_rest_of_a_line_that_was_half_written(
    tmp_path: Path,
) -> None:
    first = written(tmp_path / "m", 1)
    with Metrics(tmp_path / "m", 1) as metrics:
        metrics.append(committed(2))
        with full_disk(len(first) + 10):
            metrics.flush()
        assert (tmp_path / "m").stat().st_size == len(first) + 10

        metrics.go_back(1)
        metrics.append(committed(2))

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2)


def test_a_run_that_goes_back_to_its_start_evaluates_its_steps_again(tmp_path: Path) -> None:
    written(tmp_path / "m", 1)

    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, 2.5)

    assert steps_in(tmp_path / "m") == [(1, 2.5)]
