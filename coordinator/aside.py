"""What the coordinator computes itself, beside its loop: held-out losses, its fingerprint, and the
branches that workers disagree on. One engine, one job after another."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from coordinator import events
from coordinator.effects import Evaluate, Probe, Recompute
from coordinator.leases import BranchSum
from engine.branch import sum_branch
from engine.evaluate import held_out_loss
from engine.fingerprint import fingerprint
from engine.gradient import Engine
from engine.run import Run

Job: TypeAlias = Evaluate | Probe | Recompute
Answer: TypeAlias = events.Evaluated | events.Probed | events.Recomputed


def computer(run: Run, make_engine: Callable[[], Engine]) -> Callable[[Job], Answer]:
    """Give what does a job, with an engine of its own; to make that may take seconds."""
    engine = make_engine()

    def compute(job: Job) -> Answer:
        match job:
            case Probe():
                return events.Probed(fingerprint(engine, run.model))
            case Evaluate(step, params):
                return events.Evaluated(step, held_out_loss(engine, params, run.held_out))
            case Recompute(dispute, branch, params, documents):
                total = sum_branch(engine, run.work, params, documents, branch)
                return events.Recomputed(dispute, BranchSum(total.loss, np.frombuffer(total.grad)))

    return compute
