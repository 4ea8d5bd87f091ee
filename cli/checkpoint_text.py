"""How checkpoints read on a terminal of 80 columns: a table of them, one in detail, a check."""

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cli.checkpoint_facts import Details, Entry
from engine.shards import Cursor

UNKNOWN = "-"
WIDTH = 80  # columns
SHA256_CHARACTERS = 12  # enough to tell two apart
CHARACTERS_SHOWN = 50  # of a vocabulary
LABEL = 14  # columns of the words that name a line

RESUMED = "*"
COLUMNS = ("", "step", "loss", "held-out", "bytes", "saved", "weights")
ALIGNMENTS = "<>>>><<"  # numbers stand to the right
INDENT = " " * 4


def table(entries: Sequence[Entry], aside: Sequence[Path]) -> Iterator[str]:
    """Give a line for each entry, newest first, and under it why it is not valid."""
    resumed = next((entry for entry in entries if not entry.problem), None)
    rows = [COLUMNS, *(_cells(entry, entry is resumed) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield _aligned(COLUMNS, widths).rstrip()
    for entry, row in zip(entries, rows[1:], strict=True):
        yield f"{_aligned(row, widths)}  {_verdict(entry)}"
        yield from textwrap.wrap(
            shorten(entry.problem),
            WIDTH,
            initial_indent=INDENT,
            subsequent_indent=INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield ""
    yield f"{RESUMED} what a run that is resumed goes on from" if resumed else "none is valid"
    if aside:
        yield f"set aside as not valid, in {aside[0].parent}:"
        yield from (INDENT + path.name for path in aside)


def verdict_line(entry: Entry, width: int) -> str:
    """Give the line of a checkpoint that was verified; its step is `width` characters wide."""
    said = shorten(entry.problem)
    if not entry.problem:
        said = f"{_bytes(entry)} bytes, weights sha256 {_short_sha256(entry.weights_sha256)}"
    return f"step {entry.step:>{width}}  {_verdict(entry)}: {said}"


def verdict_summary(entries: Sequence[Entry], where: Path) -> str:
    bad = sum(bool(entry.problem) for entry in entries)
    many = len(entries) != 1
    found = f"{bad} not valid" if bad else "all valid" if many else "valid"
    return f"{len(entries)} checkpoint{'s' * many} verified: {found} — {where}"


def detailed(details: Details) -> Iterator[str]:
    """Give all that is known of one checkpoint."""
    one = details.checkpoint
    yield _line("run", one.run)
    yield _line("step", f"{one.step} of {one.train.steps}, {_next(one.cursor)}")
    held_out = "" if details.held_out_loss is None else f", held-out {_loss(details.held_out_loss)}"
    yield _line("loss", f"{_loss(one.loss)}{held_out}")
    dataset = f"{visible(one.dataset.name)}, {one.dataset.count:,} documents"
    yield _line("dataset", f"{dataset}, sha256 {_short_sha256(one.dataset.sha256)}")
    yield _line("vocabulary", f"{one.model.vocab_size} tokens: {_characters(one.characters)}, BOS")
    yield _line("parameters", f"{one.model.num_params:,}")
    yield from _settings("model", asdict(one.model))
    yield from _settings("train", asdict(one.train))
    yield _line("numerics", "exact" if one.has_exact_numerics else "accepted: bits are no promise")
    yield _line("fingerprint", one.fingerprint or UNKNOWN)
    yield from _contributors(one.contributors)
    yield _line("previous", "none" if details.previous is None else f"step {details.previous}")
    yield _line("saved", _time(details.saved_s))
    yield _line("file", str(details.path))
    yield _line("", f"{details.data_bytes:,} bytes")
    yield _line("sha256", details.sha256)
    yield _line("weights sha256", one.weights_sha256)
    yield ""
    yield "tensors, and of the same shapes adam.m.* and adam.v.*"
    width = max(len(matrix.name) for matrix in details.layout)
    for matrix in details.layout:
        yield f"  {matrix.name:<{width}}  {matrix.rows:>6,} x {matrix.columns:,}"


def shorten(text: str) -> str:
    """Leave of every sha256 in a sentence as much as tells it from another."""
    return re.sub(rf"\b([0-9a-f]{{{SHA256_CHARACTERS}}})[0-9a-f]{{52}}\b", r"\1", text)


def visible(text: str) -> str:
    """Give a text that cannot move the cursor."""
    return text if text.isprintable() else repr(text)


# ---- a line, a row, a cell -----------------------------------------------------------------------


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL}}  {text}"


def _settings(label: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield from _packed(label, [f"{name} {value}" for name, value in values.items()])


def _contributors(contributors: Mapping[str, int]) -> Iterator[str]:
    """Say who has contributed, and since which step, counted as updates applied."""
    said = [f"{name} since step {first + 1}" for name, first in sorted(contributors.items())]
    yield from _packed("contributors", [str(len(said)), *said] if said else ["none"])


def _packed(label: str, phrases: Sequence[str]) -> Iterator[str]:
    """Fill lines with phrases, none of which is broken."""
    line = phrases[0]
    for phrase in phrases[1:]:
        if len(_line(label, f"{line}  {phrase}")) > WIDTH:
            yield _line(label, line)
            label, line = "", phrase
        else:
            line += f"  {phrase}"
    yield _line(label, line)


def _cells(entry: Entry, is_resumed: bool) -> tuple[str, ...]:
    return (
        RESUMED if is_resumed else " ",
        str(entry.step),
        _loss(entry.loss),
        _loss(entry.held_out_loss),
        _bytes(entry),
        UNKNOWN if entry.saved_s is None else _time(entry.saved_s),
        _short_sha256(entry.weights_sha256) or UNKNOWN,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, ALIGNMENTS, widths, strict=True)
    marker, *others = (f"{cell:{side}{width}}" for cell, side, width in cells)
    return f"{marker} " + "  ".join(others)


def _verdict(entry: Entry) -> str:
    return click.style("not valid", fg="red") if entry.problem else click.style("ok", fg="green")


def _next(cursor: Cursor | None) -> str:
    """Say where the next step's documents begin."""
    if cursor is None:
        return "without a cursor"
    return f"goes on in epoch {cursor.epoch} at position {cursor.position:,}"


def _characters(characters: str) -> str:
    shown = visible(characters[:CHARACTERS_SHOWN])
    return shown + "..." if len(characters) > CHARACTERS_SHOWN else shown


def _loss(loss: float | None) -> str:
    if loss is None:
        return UNKNOWN
    return f"{loss:.4f}" if math.isfinite(loss) else "not finite"


def _bytes(entry: Entry) -> str:
    return UNKNOWN if entry.data_bytes is None else f"{entry.data_bytes:,}"


def _time(saved_s: float) -> str:
    return datetime.fromtimestamp(saved_s).strftime("%Y-%m-%d %H:%M:%S")


def _short_sha256(sha256: str) -> str:
    return sha256[:SHA256_CHARACTERS]
