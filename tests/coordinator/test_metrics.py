"""metrics.jsonl after every kind of end: no step twice, none missing, nothing foreign kept."""

import json
import os
import stat
from pathlib import Path

import pytest

from coordinator.metrics import Metrics
from tests.coordinator.steps import committed, written

pytestmark = pytest.mark.unit


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
        "bytes_sent": 0,
        "bytes_received": 0,
        "phases": {},
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
