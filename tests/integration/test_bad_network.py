"""A network that delays, cuts, damages and parts: the weights of a good one, a little later.

Workers reach their coordinator through a proxy of the tests' own, which says what it has injected.
"""

import random
import time

import pytest

from tests.integration.crew import STEPS, Crew
from tests.integration.figures import Figures
from tests.integration.flock import Lab, wait_until
from tests.integration.oracle import Job
from tests.integration.proxy import DOWN, UP, Proxy
from tests.trials import trials

pytestmark = pytest.mark.integration

SEED = 4
MISSED_S = 5.0  # a partition must be noticed by the coordinator: until then branches wait
SEARCHED_S = 6.0  # by the workers: one that is told WHO and hears no more searches anew
HEALED_S = 15.0  # a worker searches anew with growing pauses
# Small messages: a damaged bit is now in parameters, now in a header.
JOB = Job(steps=STEPS, batch_size=64, n_embd=4, n_head=2, engine="compiled")


def test_delays_and_cuts_cost_time_and_nothing_else(lab: Lab, figures: Figures) -> None:
    """A cut comes with answers on the way: they are computed again, and counted once."""
    rng = random.Random(SEED)
    crew = Crew(lab, JOB)
    with Proxy(crew.address, SEED) as proxy:
        proxy.delay(0.0, 0.004)
        names = crew.hire_and_wait(3, proxy.address)
        for turn in range(10):
            crew.wait_for_members(names)
            crew.wait_for_step(crew.steps + rng.randrange(3, 12))
            began_s = time.monotonic()
            assert proxy.cut(is_abrupt=turn % 2 == 0, most=rng.randrange(1, 4))
            crew.wait_for_step(crew.steps + 2)
            figures.add("going on after a cut", time.monotonic() - began_s)

        crew.assert_as_if_nothing_had_happened()
        crew.assert_workers_leave(names)
    assert proxy.injected["cut"] >= 10
    assert proxy.injected["delay"] > 100


@trials(gate=50, long=1000, soak=5000)
def test_bits_flipped_on_the_wire_have_no_effect_on_the_weights(lab: Lab, count: int) -> None:
    """TCP's checksum lets some of them through; a digest over every message does not."""
    crew = Crew(lab, JOB)
    with Proxy(crew.address, SEED) as proxy:
        names = crew.hire_and_wait(4, proxy.address)
        proxy.flip(count, bytes_mean=15_000)

        def flips() -> int:
            return proxy.injected[f"flip, {UP}"] + proxy.injected[f"flip, {DOWN}"]

        while flips() < count:
            crew.wait_for_step(crew.steps + 1)
        crew.wait_for_members(names)

        crew.assert_as_if_nothing_had_happened()
        crew.assert_workers_leave(names)
    assert "a message of its was damaged" in crew.coordinator.stderr
    assert any("dropped a message" in crew.workers[name].stderr for name in names)
    assert min(proxy.injected[f"flip, {UP}"], proxy.injected[f"flip, {DOWN}"]) > count / 10


@trials(gate=5, long=30, soak=200)
def test_bits_flipped_within_the_handshake_delay_a_worker_and_no_more(
    lab: Lab, figures: Figures, count: int
) -> None:
    """Nothing of ours is said yet: libzmq has to notice, and to try again."""
    crew = Crew(lab, JOB)
    crew.hire_and_wait(1)
    with Proxy(crew.address, SEED) as proxy:
        [name] = crew.hire_and_wait(1, proxy.address)
        for _ in range(count):
            joins, began_s = crew.joins(name), time.monotonic()
            proxy.flip_handshake()
            proxy.cut(is_abrupt=True)
            crew.wait_for_join(name, joins + 1)
            figures.add("back after a damaged handshake", time.monotonic() - began_s)

        crew.assert_as_if_nothing_had_happened()
        crew.assert_workers_leave([name])
    flips = [proxy.injected[f"flip in the handshake, {way}"] for way in (UP, DOWN)]
    assert flips[0] + flips[1] == count


@trials(gate=1, long=10, soak=50)
def test_a_partition_is_noticed_by_both_sides_and_heals_without_a_restart(
    lab: Lab, figures: Figures, count: int
) -> None:
    """A cable is pulled, or carries one way only: nothing says so but silence."""
    ways = [(UP, DOWN), (UP,), (DOWN,)]
    crew = Crew(lab, JOB)
    crew.hire_and_wait(1)
    with Proxy(crew.address, SEED) as proxy:
        names = crew.hire_and_wait(2, proxy.address)
        for turn in range(count):
            proxy.swallow(*ways[turn % len(ways)])
            began_s, accepted = time.monotonic(), proxy.accepted
            crew.wait_until_lost(names, MISSED_S)
            figures.add("partition noticed by the coordinator", time.monotonic() - began_s)
            crew.wait_for_step(crew.steps + 20)  # one worker was not cut off
            all_anew = accepted + len(names)
            wait_until("new connections", lambda n=all_anew: proxy.accepted >= n, SEARCHED_S)
            figures.add("partition noticed by the workers", time.monotonic() - began_s)
            proxy.heal()
            began_s = time.monotonic()
            crew.wait_for_members(names, HEALED_S)
            figures.add("partition healed", time.monotonic() - began_s)

        crew.assert_as_if_nothing_had_happened()
        crew.assert_workers_leave(names)
    assert proxy.injected.total() >= count
