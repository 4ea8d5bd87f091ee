"""Scaling is measured on real runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import cells_of, shards_by_batch
from benchmarks.scaling_report import DDP, OURS, TUNED, Cell


@pytest.mark.unit
def test_the_peer_has_one_process_and_two_and_two_that_are_tuned() -> None:
    ours, *theirs = cells_of([2], [64], has_torch=True)

    assert ours == Cell(OURS, 64, 2)
    assert theirs == [Cell(DDP, 64, 1), Cell(DDP, 64, 2), Cell(TUNED, 64, 2)]
    assert cells_of([2], [64], has_torch=False) == [ours]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "expected"),
    [("16", {0: 16}), ("512:32", {0: 8, 512: 32}), ("64:4,512:32", {0: 8, 64: 4, 512: 32})],
)
def test_shards_are_said_for_all_batches_or_for_some(text: str, expected: dict[int, int]) -> None:
    assert shards_by_batch(text) == expected


@pytest.mark.integration
def test_a_run_of_each_cell_comes_to_a_line(tmp_path: Path) -> None:
    flags = ["--workers=1", "--batches=2,4", "--shards=2:1,4:2", "--steps=30", "--rounds=2"]
    flags += ["--data=bundled", "--no-torch", f"--directory={tmp_path}", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *flags], capture_output=True, check=True
    )

    report = json.loads(done.stdout)
    assert [line["cell"] for line in report["lines"]] == [
        {"kind": "gradflock", "batch": batch, "workers": 1} for batch in (2, 4)
    ]
    assert report["shards"] == {"2": 1, "4": 2}
    assert report["torch"] == "--no-torch"
    for line in report["lines"]:
        batch, steps_per_s = line["cell"]["batch"], line["steps_per_s"]["median"]
        assert line["documents_per_s"]["median"] == pytest.approx(batch * steps_per_s)
    assert not list(tmp_path.iterdir())
