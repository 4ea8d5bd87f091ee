"""What every process of a world has in common."""

from dataclasses import dataclass

from tests.simulation.arithmetic import Oracle
from tests.simulation.checks import Checks
from tests.simulation.clock import Clock
from tests.simulation.faults import Faults
from tests.simulation.network import Network
from tests.simulation.plan import Plan


@dataclass(frozen=True, slots=True)
class Surroundings:
    clock: Clock
    faults: Faults
    network: Network
    checks: Checks
    oracle: Oracle
    plan: Plan
