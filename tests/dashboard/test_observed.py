"""A view as Prometheus reads it."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coordinator.metrics_line import Line
from dashboard.metrics_file import Reading
from dashboard.observed import render
from dashboard.view import View
from tests.dashboard.test_picture import heard

pytestmark = pytest.mark.unit

HOSTILE = 'w"\\\n}{<script>'


def here() -> View:
    picture = heard()
    picture.read(
        Reading(
            [
                Line(1, 2.5, 64, 0.1, held_out_loss=2.25, bytes_sent=10, bytes_received=20),
                Line(2, 2.0, 64, 0.1, bytes_sent=10, bytes_received=20),
            ]
        )
    )
    return picture.view(0.0)


def samples(view: View) -> dict[tuple[str, ...], float]:
    """Give each value by its name and labels, as a stranger's parser reads them."""
    families = text_string_to_metric_families(render(view, "1.0").decode())
    found = [sample for family in families for sample in family.samples]
    values = {(one.name, *one.labels.values()): one.value for one in found}
    assert len(values) == len(found), "a series comes only once"
    return values


def test_what_a_coordinator_says_is_there() -> None:
    found = samples(here())

    assert found["gradflock_up",] == 1
    assert found["gradflock_step",] == 7
    assert found["gradflock_steps_wanted",] == 900
    assert found["gradflock_durable_step",] == 6
    assert found["gradflock_loss_nats",] == 2.3
    assert found["gradflock_held_out_loss_nats",] == 2.25
    assert found["gradflock_documents_total",] == 128
    assert found["gradflock_bytes_sent_total",] == 20
    assert found["gradflock_bytes_received_total",] == 40
    assert found["gradflock_hedges_total",] == 3
    assert found["gradflock_members_lost_total",] == 1
    assert found["gradflock_workers", "ready"] == 2
    assert found["gradflock_step_phase_seconds", "reduce"] == 5e-5
    assert found["gradflock_worker_documents_total", "a"] == 300
    assert found["gradflock_worker_documents_per_second", "b"] == 9_000


def test_what_only_a_coordinator_knows_is_absent_while_none_answers() -> None:
    found = samples(replace(here(), state="away"))

    assert found["gradflock_up",] == 0
    assert {name for name, *_ in found} == {
        "gradflock_up",
        "gradflock_dashboard_build_info",
        "gradflock_documents_total",
        "gradflock_bytes_sent_total",
        "gradflock_bytes_received_total",
    }


def test_before_anything_is_known_only_that_is_told() -> None:
    assert {name for name, *_ in samples(View())} == {
        "gradflock_up",
        "gradflock_dashboard_build_info",
    }


def test_a_loss_that_is_not_finite_is_absent() -> None:
    view = here()
    found = samples(replace(view, run={**view.run, "loss": None}, held_out=[[2, None]]))

    assert ("gradflock_loss_nats",) not in found
    assert ("gradflock_held_out_loss_nats",) not in found


def test_a_workers_name_may_be_anything() -> None:
    view = here()
    members = [{**member, "worker": HOSTILE} for member in view.members]

    assert samples(replace(view, members=members))["gradflock_worker_documents_total", HOSTILE]
