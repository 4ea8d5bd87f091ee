"""Which gradients are counted, and that the committed parameters are those of the reference."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator import events
from coordinator.effects import Finish, Save, Send
from coordinator.facts import MemberLost, PeerRefused, StepCommitted
from coordinator.settings import Settings
from coordinator.timeline import PHASES
from engine.params import to_bytes
from tests.coordinator.scenario import (
    RUN,
    SELDOM,
    Hand,
    Scenario,
    final_save,
    is_finished,
    only,
    reference,
    result,
    sent,
    small_run,
    tasks,
    told,
)
from wire.messages import Cancel, Task, Who

pytestmark = pytest.mark.unit

SMALL = small_run(steps=3, batch_size=6, shards=5)
SMALL_HAND = Hand(SMALL)
SMALL_REFERENCE = reference(SMALL)


# ---- the same bits ------------------------------------------------------------------------------


def test_a_step_is_told_with_the_loss_of_the_reference() -> None:
    run = small_run(steps=2, shards=1)
    scenario = Scenario(run)
    (task,) = scenario.join(b"a", now=1.0)

    effects = scenario.answer(b"a", task, now=2.5)

    loss, params = reference(run)[0]
    (fact,) = told(effects)
    assert (fact.step, fact.loss, fact.documents, fact.seconds) == (1, loss, 6, 2.5)
    assert (fact.workers, fact.learning_rate) == (1, 0.01)
    assert fact.bytes_sent == len(task.params) + len(task.payload)
    assert fact.bytes_received == len(task.params)
    assert list(fact.phases) == list(PHASES)
    assert to_bytes(scenario.training.params) == params


@settings(max_examples=60)
@given(st.permutations(range(8)), st.integers(1, 4))
def test_gradients_in_any_order_from_anybody_commit_the_same_bits(
    order: list[int], workers: int
) -> None:
    scenario = Scenario(SMALL, hand=SMALL_HAND)
    peers = [bytes([97 + i]) for i in range(workers)]
    held = [(peer, task) for peer in peers for task in scenario.join(peer)]

    while held:
        peer, task = held.pop(order[len(held) % 8] % len(held))
        effects = scenario.answer(peer, task)
        held += [(p, t) for p in peers for t in tasks(effects, p)]

    assert [fact.loss for fact in told(scenario.seen) if isinstance(fact, StepCommitted)] == [
        loss for loss, _ in SMALL_REFERENCE
    ]
    assert to_bytes(final_save(scenario).params) == SMALL_REFERENCE[-1][1]


@pytest.mark.parametrize("seed", range(200))
def test_a_flock_that_comes_and_goes_trains_the_parameters_of_the_reference(seed: int) -> None:
    """Joins, crashes, lost, late, doubled and broken gradients: none may change a bit."""
    rng = random.Random(seed)
    immortal = Settings(SELDOM, losses_max=1_000_000)  # branches do not kill here; chance does
    scenario = Scenario(SMALL, hand=SMALL_HAND, settings=immortal)
    walk = Walk(scenario, rng)

    for now in range(400):
        walk.step(float(now) / 10)
        if is_finished(scenario):
            break
    else:
        walk.finish()

    losses = [fact.loss for fact in told(scenario.seen) if isinstance(fact, StepCommitted)]
    assert losses == [loss for loss, _ in SMALL_REFERENCE]
    assert to_bytes(final_save(scenario).params) == SMALL_REFERENCE[-1][1]
    assert scenario.seen[-1] == Finish(None)


class Walk:
    """A random flock: each step does one thing that a worker or the network may do."""

    def __init__(self, scenario: Scenario, rng: random.Random) -> None:
        self._scenario = scenario
        self._rng = rng
        self._names = 0
        self._held: dict[bytes, list[Task]] = {}  # by peers that are there
        self._answered: list[tuple[bytes, Task]] = []
        self._now = 0.0

    def step(self, now: float) -> None:
        self._now = now
        scenario, rng = self._scenario, self._rng
        busy = [peer for peer, queue in self._held.items() if queue]
        action = rng.choice(["join", "answer", "answer", "late", "break", "lose", "ready", "tick"])
        if action == "join" and len(self._held) < 4:
            self._names += 1
            peer = f"{self._names}".encode()
            self._held[peer] = []
            scenario.hello(peer, now)
            self._after(scenario.ready(peer, now))
        elif action == "answer" and busy:
            peer = rng.choice(busy)
            task = self._held[peer].pop(rng.randrange(len(self._held[peer])))
            self._answered.append((peer, task))
            self._after(scenario.answer(peer, task, now))
        elif action == "late" and self._answered:
            peer, task = rng.choice(self._answered)
            self._after(scenario.answer(peer, task, now))
        elif action == "break" and busy:
            peer = rng.choice(busy)
            task = self._held[peer].pop()
            spoiled: dict[str, Any] = rng.choice(
                [{"payload": b"\x00" * 8}, {"params_digest": "0"}, {"step": 99}, {"hi": 77}]
            )
            self._answered += [(peer, task)]
            self._after(scenario.answer(peer, task, now, **spoiled))
        elif action == "lose" and self._held:
            peer = rng.choice(list(self._held))
            self._answered += [(peer, task) for task in self._held.pop(peer)]
            self._after(scenario.handle(events.Departed(peer), now))
        elif action == "ready" and self._held:
            peer = rng.choice(list(self._held))
            self._answered += [(peer, task) for task in self._held[peer]]
            self._held[peer] = []
            self._after(scenario.ready(peer, now))
        else:
            self._after(scenario.handle(events.Ticked(), now))

    def finish(self) -> None:
        """Nothing more goes wrong."""
        peer = b"last"
        self._held[peer] = []
        self._scenario.hello(peer, self._now)
        self._after(self._scenario.ready(peer, self._now))
        while any(self._held.values()):
            busy = next(p for p, queue in self._held.items() if queue)
            self._after(self._scenario.answer(busy, self._held[busy].pop(0), self._now))

    def _after(self, effects: list[Any]) -> None:
        for save in only(Save, effects):
            self._scenario.handle(events.Saved(save.step, 0.5), self._now)
        for fact in told(effects):
            if isinstance(fact, MemberLost):
                self._held.pop(fact.name.removeprefix("w").encode(), None)
        for peer, queue in self._held.items():
            cancelled = [m.lease for m in sent(effects, peer) if isinstance(m, Cancel)]
            queue[:] = [task for task in queue if task.lease not in cancelled]
            queue += tasks(effects, peer)


# ---- what is not counted ------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2**62])
def test_a_gradient_of_a_step_that_is_not_open_is_stale(step: int) -> None:
    scenario = Scenario(small_run())
    task, _ = scenario.join(b"a")

    effects = scenario.answer(b"a", task, step=step)

    assert sent(effects, b"a")[0] == result(replace(task, step=step), "STALE")
    assert not scenario.training.board.is_summed((task.lo, task.hi))


@pytest.mark.parametrize(
    "fields",
    [
        {"params_digest": ""},
        {"params_digest": "ab" * 32},
        {"lo": 0, "hi": 3},
        {"lo": 4, "hi": 6},
        {"payload": b""},
        {"payload": bytes(8)},
        {"payload": bytes(8 * (small_run().model.num_params + 1))},
    ],
)
def test_a_gradient_of_something_else_is_not_counted_and_its_worker_is_refused(
    fields: dict[str, Any],
) -> None:
    scenario = Scenario(small_run(batch_size=2, shards=2))
    task, _ = scenario.join(b"a")
    scenario.join(b"b")

    effects = scenario.answer(b"a", task, **fields)

    (refuse,) = sent(effects, b"a")
    assert (refuse.code, refuse.permanent) == ("GRADIENT", True)
    assert [type(fact) for fact in told(effects)] == [MemberLost, PeerRefused]
    assert not scenario.training.board.is_summed((task.lo, task.hi))
    assert len(tasks(effects, b"b")) == 2


def test_a_gradient_of_the_last_step_is_stale_and_nobody_is_told() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    scenario.answer(b"a", task)

    assert scenario.answer(b"a", task) == [Send(b"a", result(task, "STALE"))]
    assert scenario.training.step == 1


def test_a_second_copy_of_a_gradient_is_a_duplicate_and_changes_nothing() -> None:
    scenario = Scenario(SMALL, hand=SMALL_HAND)
    first, second = scenario.join(b"a")
    following = tasks(scenario.answer(b"a", first), b"a")

    effects = scenario.answer(b"a", first)

    assert effects == [Send(b"a", result(first, "DUPLICATE"))]
    scenario.work(b"a", [second, *following])
    assert to_bytes(final_save(scenario).params) == SMALL_REFERENCE[-1][1]


def test_result_of_a_lost_lease_still_counts_once_and_the_second_copy_is_cancelled() -> None:
    scenario = Scenario(small_run(batch_size=2, shards=2))
    first, _ = scenario.join(b"a")
    scenario.join(b"b")
    (copy,) = tasks(scenario.ready(b"a"), b"b")
    assert (copy.lo, copy.hi) == (first.lo, first.hi)

    effects = scenario.answer(b"a", first)

    assert effects == [Send(b"b", Cancel(RUN, 4, copy.sid, copy.lease))]
    assert scenario.training.board.is_summed((first.lo, first.hi))
    assert scenario.answer(b"b", copy) == [Send(b"b", result(copy, "DUPLICATE"))]


@pytest.mark.parametrize("ending", ["departed", "silent"])
def test_a_gradient_that_arrives_after_its_session_has_ended_counts(ending: str) -> None:
    """Computing it cost a tenth of a second a document; whoever is asked who it is has it still."""
    scenario = Scenario(small_run(batch_size=2, shards=2))
    first, _ = scenario.join(b"a")
    scenario.join(b"b", now=3.0)
    ended = scenario.handle(events.Departed(b"a")) if ending == "departed" else scenario.wait(3.5)
    copies = tasks(ended, b"b")
    (copy,) = [task for task in copies if (task.lo, task.hi) == (first.lo, first.hi)]

    effects = scenario.answer(b"a", first, now=3.5)

    assert effects == [
        Send(b"a", Who(RUN, 4, first.sid)),
        Send(b"b", Cancel(RUN, 4, copy.sid, copy.lease)),
    ]
    assert scenario.training.board.is_summed((first.lo, first.hi))


def test_one_worker_cannot_end_the_lease_of_another() -> None:
    scenario = Scenario(small_run(batch_size=3, shards=3))
    of_a = scenario.join(b"a")
    (of_b,) = scenario.join(b"b")

    scenario.answer(b"b", of_b, lease=of_a[0].lease)

    assert scenario.training.board.is_summed((of_b.lo, of_b.hi))
    assert scenario.join(b"c") == []
