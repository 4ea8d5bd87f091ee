"""Which faults strike, and how many have: all chance in a world comes from one generator."""

import random
from collections import Counter
from collections.abc import Mapping


class Faults:
    """The faults of one world.

    Attributes:
        rng: the world's only generator.
        counts: how many of each kind have struck.
        are_over: nothing fails any more.
    """

    def __init__(self, rng: random.Random, rates: Mapping[str, float]) -> None:
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self.are_over = False
        self._rates = {kind: rate for kind, rate in rates.items() if rate > 0}

    def strikes(self, kind: str) -> bool:
        """Draw whether a fault of this kind happens now."""
        rate = self._rates.get(kind)
        return rate is not None and not self.are_over and self.rng.random() < rate

    def count(self, kind: str) -> None:
        self.counts[kind] += 1
