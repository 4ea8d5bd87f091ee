"""A test of the tests: every planted bug is caught by the simulator."""

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import simulate

pytestmark = pytest.mark.simulation

SEEDS_MAX = 300


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    with mutant.planted():
        outcomes = (simulate(seed, alter=mutant.alter) for seed in range(SEEDS_MAX))
        caught = next((outcome for outcome in outcomes if outcome.broken), None)

    assert caught is not None, f"{SEEDS_MAX} seeds did not notice: {mutant.bug}"
    if caught.broken == "no exception leaves a state":
        assert caught.detail.startswith("AssertionError"), f"the change no longer fits: {caught}"
    assert f"replay: make sim SEED={caught.seed}" in str(caught)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_production_code_is_whole_again_after_a_planted_bug(mutant: Mutant) -> None:
    originals = [vars(owner)[name] for owner, name, _ in mutant.changes]

    with mutant.planted():
        planted = [vars(owner)[name] for owner, name, _ in mutant.changes]

    assert all(a is not b for a, b in zip(originals, planted, strict=True))
    assert [vars(owner)[name] for owner, name, _ in mutant.changes] == originals
