"""Tasks come, gradients go: what a worker does with its leases."""

from typing import Any

import pytest

from tests.worker.session import (
    DIGEST,
    PARAMS,
    SESSION,
    WELCOME,
    compute,
    kinds,
    ready,
    receive,
    task,
    working,
)
from wire.messages import (
    Cancel,
    Grad,
    Hello,
    Pong,
    Progress,
    Result,
    Who,
)
from wire.payload import join, pack
from worker import events
from worker.effects import Abandon, Send, Tell

pytestmark = pytest.mark.unit

# ---- working ------------------------------------------------------------------------------------


def test_a_task_is_computed() -> None:
    assert receive(working(), task()) == [compute()]


def test_a_second_task_waits_for_the_first() -> None:
    state = working()
    receive(state, task(1))

    assert receive(state, task(2, params=b"", lo=1, hi=2)) == []


def test_a_gradient_goes_out_and_the_next_task_begins() -> None:
    state = working()
    receive(state, task(1))
    receive(state, task(2, params=b"", lo=1, hi=2))

    effects = state.handle(events.BranchDone(1.5, b"grad", 0.5), 1.0)

    grad = Grad(*SESSION, 0, 0, 1, 1, DIGEST, 1.5, 0.0, 0.5, b"grad")
    assert effects == [Send(grad), compute(1, 2)]
    assert kinds(state.handle(events.BranchDone(1.5, b"grad", 0.5), 2.0)) == [Grad]


def test_a_gradient_says_how_long_its_task_has_waited() -> None:
    state = working()
    receive(state, task(1), 1.0)
    receive(state, task(2, params=b"", lo=1, hi=2), 1.5)
    state.handle(events.BranchDone(1.5, b"grad", 0.5), 3.0)

    (send,) = state.handle(events.BranchDone(1.5, b"grad", 0.5), 4.0)

    assert send.message.queued_s == 1.5


def test_a_loss_that_is_no_number_is_sent() -> None:
    state = working()
    receive(state, task(1))

    (send,) = state.handle(events.BranchDone(float("nan"), b"", 0.5), 1.0)

    assert send.message.loss_sum != send.message.loss_sum


def test_a_task_for_unknown_parameters_is_answered_by_ready() -> None:
    assert receive(working(), task(params=b"")) == [ready()]


def test_ready_names_the_parameters_that_are_held() -> None:
    state = working()
    receive(state, task(1))

    effects = receive(state, task(2, params=b"", params_digest="other"))

    assert effects == [Abandon(), ready(DIGEST)]


def test_parameters_outlive_a_session() -> None:
    state = working()
    receive(state, task(1))
    receive(state, Who(*SESSION))
    receive(state, WELCOME)

    assert state.handle(events.Prepared(0.25, "f1"), 1.0) == [ready(DIGEST)]


def test_a_cancelled_task_is_abandoned_and_the_next_begins() -> None:
    state = working()
    receive(state, task(1))
    receive(state, task(2, params=b"", lo=1, hi=2))

    assert receive(state, Cancel(*SESSION, 1)) == [Abandon(), compute(1, 2)]


def test_a_cancelled_task_in_the_queue_never_begins() -> None:
    state = working()
    receive(state, task(1))
    receive(state, task(2, params=b""))

    assert receive(state, Cancel(*SESSION, 2)) == []
    assert kinds(state.handle(events.BranchDone(1.5, b"", 0.5), 1.0)) == [Grad]


def test_the_cancelling_of_an_unknown_lease_is_nothing() -> None:
    state = working()
    receive(state, task(1))

    assert receive(state, Cancel(*SESSION, 99)) == []
    assert kinds(state.handle(events.BranchDone(1.5, b"", 0.5), 1.0)) == [Grad]


def test_a_branch_that_was_abandoned_is_not_sent() -> None:
    state = working()
    receive(state, task(1))
    receive(state, Cancel(*SESSION, 1))

    assert state.handle(events.BranchDone(1.5, b"", 0.5), 1.0) == []


def test_progress_is_said_at_most_once_a_second() -> None:
    state = working()
    receive(state, task(5))

    said = [kinds(state.handle(events.DocumentDone(i), i * 0.4)) for i in range(1, 9)]

    assert [i for i, what in enumerate(said, start=1) if what == [Progress]] == [3, 6]


def test_progress_names_the_lease_and_the_documents() -> None:
    state = working()
    receive(state, task(5))

    assert state.handle(events.DocumentDone(2), 9.0) == [Send(Progress(*SESSION, 5, 2))]


def test_a_gradient_that_was_not_counted_is_told_in_steps_of_people() -> None:
    effects = receive(working(), Result(*SESSION, 0, 0, 1, "MISMATCH"))

    assert effects == [Tell("a gradient of step 1 was not counted: MISMATCH")]


@pytest.mark.parametrize("status", ["STALE", "DUPLICATE"])
def test_a_gradient_that_another_copy_forestalled_is_no_news(status: str) -> None:
    assert receive(working(), Result(*SESSION, 0, 0, 1, status)) == []


def test_a_damaged_message_is_told_and_every_lease_given_back() -> None:
    """It may have been a task: its lease would never end."""
    state = working()
    receive(state, task(1))

    effects = state.handle(events.Garbled("expected the digest"), 0.0)

    assert effects == [Tell("dropped a message: expected the digest"), Abandon(), ready(DIGEST)]


# ---- tasks that no coordinator of ours would send -----------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"payload": b""}, id="nothing"),
        pytest.param({"payload": b"\x01\x00\x01\x00"}, id="cut short"),
        pytest.param({"params": PARAMS[8:]}, id="a parameter too few"),
        pytest.param({"params": PARAMS + PARAMS[:8]}, id="a parameter too many"),
        pytest.param({"lo": 1, "hi": 0}, id="no shard"),
        pytest.param({"lo": 1, "hi": 1}, id="empty branch"),
        pytest.param({"hi": 3}, id="a shard too many"),
        pytest.param({"hi": 2}, id="documents of half the branch"),
        *(
            pytest.param({"payload": join([*map(pack, [(2, 0, 2), document])])}, id=name)
            for name, document in [
                ("unknown token", (2, 3, 2)),
                ("no position", (2,)),
                ("empty", ()),
                ("longer than the model looks", (2, 0, 0, 0, 2)),
            ]
        ),
    ],
)
def test_a_task_that_cannot_be_computed_is_a_permanent_end(fields: dict[str, Any]) -> None:
    state = working()
    receive(state, task(1))

    abandon, leave = receive(state, task(2, **fields))

    assert abandon == Abandon()
    assert leave.is_permanent
    assert "task; run the same version everywhere" in leave.failure


def test_a_document_that_fills_every_position_is_computed() -> None:
    documents = [(2, 0, 2), (2, 0, 1, 2)]

    (effect,) = receive(working(), task(payload=join([*map(pack, documents)])))

    assert effect.documents == documents


def test_a_worker_without_work_says_again_that_it_is_ready() -> None:
    """READY, or the task that answered it, may have been lost on the way."""
    state = working()
    said = []
    for tenths in range(1, 60):
        receive(state, Pong(*SESSION, 0.0), tenths / 10)
        said += [(tenths, e) for e in state.handle(events.Ticked(), tenths / 10) if e == ready()]

    assert [tenths for tenths, _ in said] == [50]


def test_a_who_for_another_session_ends_nothing() -> None:
    state = working()

    assert receive(state, Who(SESSION[0], SESSION[1], SESSION[2] + 1)) == []
    assert kinds(receive(state, Who(*SESSION))) == [Hello]
