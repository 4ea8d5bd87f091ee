"""The status as JSON: what goes in comes out, and nothing that is no JSON ever goes out."""

import json
import math
from dataclasses import replace

import pytest

from coordinator.errors import StatusUnreadable
from coordinator.status import from_json, to_json
from tests.coordinator.standing import MEMBER, STATUS, status_with

pytestmark = pytest.mark.unit


def test_a_status_comes_back_as_it_was() -> None:
    assert from_json(to_json(STATUS)) == STATUS


def test_before_the_first_step_there_is_no_loss() -> None:
    status = status_with(step=0, loss=None, members=())

    assert from_json(to_json(status)) == status


def test_equal_statuses_are_equal_bytes_in_one_line() -> None:
    data = to_json(STATUS)

    assert data == to_json(from_json(data))
    assert b"\n" not in data
    assert list(json.loads(data)) == sorted(json.loads(data))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_and_never_breaks_a_reader(number: float) -> None:
    status = status_with(loss=number, members=(replace(MEMBER, documents_per_s=number),))

    values = json.loads(to_json(status), parse_constant=pytest.fail)

    assert values["loss"] is None
    assert values["members"][0]["documents_per_s"] is None
    assert math.isnan(from_json(to_json(status)).members[0].documents_per_s)


def test_a_newer_coordinator_may_say_more() -> None:
    values = {**json.loads(to_json(STATUS)), "weather": "fine"}

    assert from_json(json.dumps(values).encode()) == STATUS


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff\x00", ""),
        (b"[]", "'[]' for Status"),
        (b"{}", "none for run"),
        (b"[" * 100_000, ""),
        (to_json(STATUS).replace(b'"step":118', b'"step":"118"'), "'118' for int"),
        (to_json(STATUS).replace(b'"step":118', b'"step":true'), "'True' for int"),
        (to_json(STATUS).replace(b"[0,2]", b"[0,2,4]"), "for tuple"),
        (to_json(STATUS).replace(b'"rank":0', b'"rank":0.5'), "'0.5' for int"),
        (to_json(STATUS).replace(b'"host":"alpha"', b'"host":null'), "'None' for str"),
    ],
)
def test_what_is_no_status_is_refused_with_what_was_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(StatusUnreadable, match="expected a coordinator's status, got") as refusal:
        from_json(data)

    assert reason in str(refusal.value)
