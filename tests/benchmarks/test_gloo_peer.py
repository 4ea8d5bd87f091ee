"""All-reduce by gloo is timed where torch is installed."""

import json
import sys

import pytest

pytest.importorskip("torch", reason="needs PyTorch: make test-torch", exc_type=ImportError)

from benchmarks.ddp import run_peer

pytestmark = [pytest.mark.integration, pytest.mark.torch]


def test_so_many_reductions_are_timed() -> None:
    seconds = json.loads(run_peer(sys.executable, "benchmarks.gloo_peer", ["4"]))

    assert len(seconds) == 4
    assert all(one > 0 for one in seconds)
