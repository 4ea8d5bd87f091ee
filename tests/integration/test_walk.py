"""README's walk, typed as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.flock import ROOT, Lab, free_address

pytestmark = pytest.mark.integration

WITHIN_S = 300


def walk() -> str:
    """Give the lines that README has people type."""
    section = (ROOT / "README.md").read_text().partition("### A walk\n")[2]
    return section.partition("```\n")[2].partition("```")[0]


def test_the_walk_of_the_readme_ends_with_one_sha256_three_times(lab: Lab) -> None:
    programs = lab.directory / "bin"
    programs.mkdir()
    gradflock = programs / "gradflock"
    gradflock.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
    gradflock.chmod(0o755)
    environment = {
        **lab.environment,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "GRADFLOCK_DATA": "bundled",
        "GRADFLOCK_SAMPLER_BIND": free_address(),  # tests run beside each other
    }

    done = subprocess.run(
        ["bash", "-e", "-c", walk()],
        cwd=lab.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )

    assert done.returncode == 0, done.stderr
    *names, last = done.stdout.splitlines()
    sha256 = json.loads((lab.directory / "alone.json").read_text())["weights_sha256"]
    assert re.fullmatch(rf'\s*3 "weights_sha256": "{sha256}"', last)
    assert len(names) >= 3
    assert all(name.strip() for name in names[:3])
    assert "was killed by SIGKILL; starting it again" in done.stderr
    _assert_timeline(lab.directory / "pair.trace.json", steps=6000)
    lab.assert_nobody_is_left()


def _assert_timeline(path: Path, steps: int) -> None:
    events = json.loads(path.read_text())
    tracks = {one["args"]["name"] for one in events if one["name"] == "thread_name"}
    assert {"coordinator", "what the step waits for"} <= tracks
    assert sum(track.startswith("worker-") for track in tracks) == 2
    assert sum(one["name"].startswith("step ") for one in events) == steps
