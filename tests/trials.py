"""How often a trial is repeated: a few times in the gate, often in CI, more for those with time."""

import pytest


def trials(gate: int, long: int, soak: int) -> pytest.MarkDecorator:
    """Run a test with its `count`: in `make test`, in `make test-long`, in `make soak`."""
    return pytest.mark.parametrize(
        "count",
        [
            gate,
            pytest.param(long, marks=pytest.mark.long),
            pytest.param(soak, marks=pytest.mark.soak),
        ],
    )


def seeds(gate: int, long: int, soak: int) -> pytest.MarkDecorator:
    """Run a test once for each `seed`: 0 to gate, from there to long, and from there to soak."""
    marks = [()] * gate + [pytest.mark.long] * (long - gate) + [pytest.mark.soak] * (soak - long)
    return pytest.mark.parametrize(
        "seed", [pytest.param(seed, marks=mark) for seed, mark in enumerate(marks)]
    )
