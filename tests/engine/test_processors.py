"""The same bits on every processor: products are fused where the engine says so, nowhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PROCESSORS = {  # name -> environment of numba
    "host": {},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},  # no AVX, no FMA
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
}


@pytest.mark.unit
def test_no_file_of_the_engine_asks_for_fast_mathematics() -> None:
    for path in sorted((ROOT / "engine").glob("*.py")):
        assert "fastmath=" not in path.read_text(encoding="utf-8").replace(" ", ""), path.name


@pytest.fixture(scope="module")
def fingerprints() -> dict[str, dict[str, Any]]:
    """What each processor's kernels say, compiled in a process of their own."""
    return {name: fingerprint(settings) for name, settings in PROCESSORS.items()}


def fingerprint(settings: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.engine.fingerprint"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.oracle
@pytest.mark.long
@pytest.mark.parametrize("name", PROCESSORS)
def test_gradients_have_the_same_bits_on_processors_with_and_without_fused_products(
    fingerprints: dict[str, dict[str, Any]], name: str
) -> None:
    assert fingerprints[name]["digest"] == fingerprints["host"]["digest"]


@pytest.mark.oracle
@pytest.mark.long
@pytest.mark.parametrize("name", PROCESSORS)
def test_no_instruction_may_be_reordered_or_fused_at_will(
    fingerprints: dict[str, dict[str, Any]], name: str
) -> None:
    found = fingerprints[name]

    assert found["instructions"] > 100
    assert found["relaxed"] == []
    assert found["optional_fusions"] == 0
    registers_of_a_row = (0, 1, 2)  # no such instruction; 512 bits; 256 bits
    assert found["fusions_in_code"] in [
        count * found["fusions_asked_for"] for count in registers_of_a_row
    ]
