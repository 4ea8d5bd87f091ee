"""The promise that everything else serves: the parameters do not depend on who computed them."""

import pytest

from tests.integration.flock import Lab
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

SHORT = Job(steps=6)
# The compiled engine: shards that are no multiple of its lanes, positions that are no multiple of
# a tile, and a step in milliseconds.
FAST = Job(steps=300, batch_size=75, shards=8, n_embd=16, n_head=4, engine="compiled")


@pytest.mark.parametrize(
    ("job", "workers"),
    [
        *(pytest.param(SHORT, workers, id=f"eager-{workers}") for workers in (1, 2, 3, 5)),
        *(pytest.param(FAST, workers, id=f"compiled-{workers}") for workers in (1, 2, 3, 5, 8)),
    ],
)
def test_any_number_of_workers_trains_the_weights_of_a_single_process(
    lab: Lab, job: Job, workers: int
) -> None:
    """A run must be reproducible on a machine with another number of cores."""
    train = lab.train(job, f"--workers={workers}")

    summary = train.summary()

    assert summary["weights_sha256"] == job.expected().weights_sha256
    assert (summary["steps"], summary["workers"]) == (job.steps, workers)
    lab.assert_nobody_is_left()


def test_shards_of_uneven_size_change_nothing(lab: Lab) -> None:
    """23 documents in 5 shards, 3 workers: nothing divides, and bits show mistakes."""
    job = Job(steps=2, batch_size=23, shards=5)
    train = lab.train(job, "--workers=3")

    assert train.summary()["weights_sha256"] == job.expected().weights_sha256


def test_a_deeper_model_with_relu2_and_layer_norm_is_trained_to_the_same_bits(lab: Lab) -> None:
    """The config travels to the workers; a field lost on the way would train another model."""
    job = Job(steps=3, n_layer=2, activation="relu2", norm="layer")
    train = lab.train(job, "--workers=2")

    assert train.summary()["weights_sha256"] == job.expected().weights_sha256


def test_metrics_hold_one_line_a_step_with_the_losses_of_a_single_process(lab: Lab) -> None:
    """Tools read this file: a line twice, or a rounded loss, makes every plot of it a lie."""
    train = lab.train(SHORT, "--workers=2")
    train.summary()

    lines = train.metrics()

    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in lines] == SHORT.expected().losses
    assert [line["documents"] for line in lines] == [8] * 6
    assert all(0 < line["seconds"] < 60 for line in lines)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 3])
def test_a_wide_model_is_trained_to_the_same_bits(lab: Lab, workers: int) -> None:
    """116 KB of parameters in a frame, and fewer branches than the workers would like."""
    job = Job(steps=2, batch_size=23, shards=5, n_embd=32, n_head=4)
    train = lab.train(job, f"--workers={workers}")

    assert train.summary()["weights_sha256"] == job.expected().weights_sha256
