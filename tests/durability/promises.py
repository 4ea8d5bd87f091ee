"""What must hold of a run directory, however a life in it has ended: the next coordinator looks."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from coordinator.checkpoint import Checkpoint, serialise
from coordinator.errors import CoordinatorError
from coordinator.run_directory import RunDirectory
from coordinator.store import ASIDE, DATA, RECORD
from tests.durability.lives import BEFORE, GOOD, KEEP, Coordinator, Life, line_of, state_at

LOST = "a saved step is restored"
OTHER = "what is restored is what was saved"
REVOKED = "a revoked step is never restored"
LINES = "a durable step has its line"
TWICE = "a generation is counted once"
SPOILT = "a crash is not taken for damage"
STARTS = "another coordinator can start"
ON = "the next coordinator saves, prunes and leaves no leftovers"

Said = Sequence[tuple[str, int]]  # what a life has told, in order


class Broken(Exception):
    """Raised when a promise is broken."""

    def __init__(self, promise: str, detail: object) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


def check(
    life: Life, path: Path, said: Said, *, goes_on: bool = True, is_marked: bool = True
) -> None:
    """Start another coordinator where a life has ended, and hold what it finds against what was
    said.

    Args:
        goes_on: it also saves.
        is_marked: the disk has not refused the mark of what is revoked, without which a crash may
            leave some of it.
    """
    try:
        _check(life, RunDirectory(path), said, goes_on, is_marked)
    except (CoordinatorError, OSError) as error:
        raise Broken(STARTS, error) from error


def _check(life: Life, directory: RunDirectory, said: Said, goes_on: bool, is_marked: bool) -> None:
    is_again = life.is_again or any(word == "revoked" for word, _ in said)
    with directory.lock():
        newest, complaints = directory.checkpoints.newest()
        step = -1 if newest is None else newest.step
        if step < (floor := _floor(life, said)):
            raise Broken(LOST, f"expected step {floor} or a later one, got {step}")
        if newest is not None:
            _check_contents(life, newest, is_again, is_marked)
        _check_lines(directory.metrics, step, is_again)
        unfair = [text for text in complaints if not _names(text, life.spoilt)]
        if unfair and is_marked:
            raise Broken(SPOILT, unfair)
        _check_next(life, directory, said, goes_on)


def _names(complaint: str, step: int | None) -> bool:
    return step is not None and f"step-{step:08d}." in complaint


def _floor(life: Life, said: Said) -> int:
    """Give the oldest step that may be restored."""
    floor, is_settled = life.floor, not life.goes_back
    for word, number in said:
        if word == "started" and life.goes_back:  # it may be doing so already
            floor, is_settled = min(floor, GOOD), False
        elif word == "revoked":
            floor, is_settled = min(floor, number), True
        elif word == "saved" and (is_settled or number <= GOOD):
            floor = number
    return floor


def _check_contents(life: Life, found: Checkpoint, is_again: bool, is_marked: bool) -> None:
    may_be_revoked = found.step > GOOD and (life.goes_back or life.is_again)
    original, again = (state_at(found.step, is_again) for is_again in (False, True))
    if may_be_revoked and _is(found, original):
        if is_again:
            raise Broken(REVOKED, found.step)
        if found.step != BEFORE and is_marked:
            raise Broken(REVOKED, f"{found.step}, though later ones are gone")
        return
    if not _is(found, again if may_be_revoked else original):
        raise Broken(OTHER, found.step)


def _is(found: Checkpoint, original: Checkpoint) -> bool:
    is_same = serialise(found) == serialise(original)
    return is_same and found.contributors == original.contributors


def _check_lines(path: Path, step: int, is_again: bool) -> None:
    text = path.read_text(errors="replace") if path.exists() else ""
    *lines, _ = text.split("\n")
    for number in range(1, step + 1):
        expected = asdict(line_of(number, is_again and number > GOOD))
        del expected["grad_norms"]  # which nobody wanted
        found = lines[number - 1] if number <= len(lines) else ""
        if found != json.dumps(expected):
            raise Broken(LINES, f"expected the line of step {number}, got {found!r}")


def _check_next(life: Life, directory: RunDirectory, said: Said, goes_on: bool) -> None:
    told: list[tuple[str, int]] = []
    coordinator = Coordinator(directory, lambda *words: told.append(words))
    with coordinator.metrics:
        earlier = [0 if life.floor < 0 else 1]
        earlier += [number for word, number in said if word == "started"]
        if told[0][1] <= max(earlier):
            raise Broken(TWICE, f"{told[0][1]} after {earlier}")
        if not goes_on:
            return
        coordinator.commit()
        coordinator.save()
        if told[-1] != ("saved", coordinator.step):
            raise Broken(ON, told)
    steps = directory.checkpoints.steps()
    if steps[0] != coordinator.step or len(steps) > KEEP.newest:
        raise Broken(ON, steps)
    expected = {f"step-{step:08d}{suffix}" for step in steps for suffix in (DATA, RECORD)}
    expected |= {"LOCK", "GENERATION", "metrics.jsonl", "checkpoints"}
    found = {path.name for path in directory.path.rglob("*") if path.suffix != ASIDE}
    if found != expected:
        raise Broken(ON, sorted(found ^ expected))
