"""What watching costs: every case runs, and is compared with the run that nobody sees."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.watching import CASES, UNSEEN


@pytest.mark.integration
def test_every_case_is_compared_with_the_unseen_run(tmp_path: Path) -> None:
    flags = [f"--directory={tmp_path}", "--rounds=1", "--steps=60", "--workers", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.watching", *flags], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)["lines"]
    assert [line["name"] for line in lines] == list(CASES)
    rates = {line["name"]: line["steps_per_s"]["median"] for line in lines}
    for line in lines:
        expected = rates[line["name"]] / rates[UNSEEN]
        assert line["relative"]["median"] == pytest.approx(expected)
    assert list(tmp_path.iterdir()) == []
