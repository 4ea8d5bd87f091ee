"""A coordinator's status door without a training behind it: a real socket, real files, made steps.

It stands where no process could say so exactly what it did: who computed which shards, and when.
"""

import json
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Self

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.run_directory import RunDirectory
from coordinator.status import BranchCounts, MemberStatus, Status, to_json
from coordinator.store import Keep
from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.run import prepare_run
from wire.transport import Listener

RUN = "5f" * 16
STEPS_KEPT = 32
PREPARED = prepare_run(
    ["abba", "ba", "a", "bab"],
    TrainConfig(900, 2, 2),
    {"n_embd": 2, "n_head": 1, "block_size": 8},
)


def leg(worker: str, lo: int, hi: int, sent_s: float, **times: float) -> dict[str, Any]:
    known = {"queued_s": 0.0, "compute_s": 4e-4, "received_s": sent_s + 6e-4}
    return {"worker": worker, "lo": lo, "hi": hi, "sent_s": sent_s, **known, **times}


def step(number: int, legs: Sequence[dict[str, Any]], opened_s: float = 0.0) -> dict[str, Any]:
    phases = {
        "broadcast": 6e-5,
        "compute": 6e-4,
        "collect": 8e-5,
        "reduce": 5e-5,
        "adam": 7e-5,
        "checkpoint": 2e-5,
        "other": 1.2e-4,
    }
    return {
        "step": number,
        "opened_s": opened_s,
        "seconds": 1e-3,
        "loss": 2.3,
        "documents": 64,
        "workers": 2,
        "phases": phases,
        "bytes_sent": 68_211,
        "bytes_received": 67_400,
        "legs": list(legs),
    }


def timeline(
    steps: Sequence[dict[str, Any]], branches: Sequence[dict[str, Any]] = (), shards: int = 8
) -> dict[str, Any]:
    number = steps[-1]["step"] + 1 if steps else 1
    return {
        "run": RUN,
        "gen": 1,
        "shards": shards,
        "params": 4192,
        "tree": {"step": number, "branches": list(branches)},
        "steps": list(steps),
    }


def member(name: str, rank: int = 0, **fields: Any) -> MemberStatus:
    known: dict[str, Any] = {
        "host": "here",
        "pid": 1,
        "phase": "ready",
        "branches_done": 9,
        "documents_done": 300,
        "documents_per_s": 9_000.0,
        "heard_s": 0.01,
        "leases": (),
        "hedges": 0,
        "document_s": 1e-4,
        "waited_for": 3,
    }
    values = {"rank": rank, "name": name, **known, **fields}
    return MemberStatus(**{key: values[key] for key in MemberStatus.__slots__})


def status(number: int, members: Sequence[MemberStatus], **fields: Any) -> Status:
    known: dict[str, Any] = {
        "run": RUN,
        "gen": 1,
        "phase": "training",
        "steps": 900,
        "loss": 2.3,
        "documents_per_s": 14_000.0,
        "durable_step": max(0, number - 1),
        "saving_step": None,
        "save_trouble": "",
        "seconds": 12.0,
        "world_size": len(members),
        "membership_version": 2,
        "branches": BranchCounts(2, 0, 2, 0),
        "hedges": 3,
        "audits": 0,
        "dropped": 0,
        "lost": 1,
        "quarantined": (),
        "refusals": (),
        "numerics": "strict",
    }
    return Status(step=number, members=tuple(members), **{**known, **fields})


def checkpoint(number: int, run: str = RUN, shift: float = 0.0) -> Checkpoint:
    params = array("d", PREPARED.params)
    params[0] = number + shift
    return Checkpoint(
        run=run,
        step=number,
        loss=1.0 if number else None,
        model=PREPARED.model,
        train=PREPARED.train,
        dataset=DatasetRecord("names", 4, "ab" * 32),
        characters=PREPARED.tokenizer.characters,
        rng_state=PREPARED.rng_state,
        params=params,
        moments=Moments.zeros(PREPARED.model.num_params),
    )


def save(run_dir: Path, *checkpoints: Checkpoint, keep: int = 100) -> None:
    directory = RunDirectory(run_dir)
    with directory.lock():
        for one in checkpoints:
            directory.checkpoints.save(one, Keep(keep))


def write_lines(run_dir: Path, first: int, last: int, **added: Any) -> None:
    """Append a line for each step."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        for number in range(first, last + 1):
            loss = 3.3 * number**-0.1 + Random(number).gauss(0, 0.05)
            values = {"step": number, "loss": loss, "documents": 64, "seconds": 1e-3, "workers": 2}
            values |= {"bytes_sent": 68_211, "bytes_received": 67_400}
            if number % 25 == 0:
                values["held_out_loss"] = loss + 0.05
            file.write(json.dumps(values | added) + "\n")


class FakeCoordinator:
    """Answers both questions in a thread, until it is closed.

    Attributes:
        asked: how often each question has come.
        is_silent: it hears, and does not answer.
    """

    def __init__(
        self, run_dir: Path, workers: Sequence[str] = ("worker-a", "worker-b"), number: int = 0
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.asked = {b"STATUS": 0, b"TIMELINE": 0}
        self.is_silent = False
        self.knows_timeline = True
        self.run = RUN
        self.number = number
        self._run_dir = run_dir
        self._workers = list(workers)
        self._listener = Listener("tcp://127.0.0.1:0", 1024)
        self._address_file = run_dir / "status.address"
        self._address_file.write_text(self._listener.address + "\n")
        self._is_stopping = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def advance(self, steps: int = 1) -> None:
        """Commit so many steps, and write their lines."""
        write_lines(self._run_dir, self.number + 1, self.number + steps)
        self.number += steps

    def close(self) -> None:
        self._is_stopping = True
        self._listener.wake()
        self._thread.join()
        self._listener.close()
        self._address_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._is_stopping:
            self._listener.wait(1.0)
            self._listener.departed()
            self._listener.strangers()
            while (received := self._listener.receive()) is not None:
                peer, frames = received
                question = frames[-1]
                self.asked[question] += 1
                is_known = question == b"STATUS" or self.knows_timeline
                if is_known and not self.is_silent:
                    self._listener.send(peer, [*frames[:-1], self._answer(question)])

    def _answer(self, question: bytes) -> bytes:
        if question == b"STATUS":
            members = [self._member(rank, name) for rank, name in enumerate(self._workers)]
            values = json.loads(to_json(status(self.number, members, run=self.run)))
            for rank, one in enumerate(values["members"]):
                one["waited_for"] = self.number // (rank + 1)
            return json.dumps(values).encode()
        steps = [
            self._step(n) for n in range(max(1, self.number - STEPS_KEPT + 1), self.number + 1)
        ]
        branches = []
        for lo, hi in self._cut():
            state = ("summed", "leased", "waiting")[(lo + self.number) % 3]
            worker = self._workers[lo * len(self._workers) // 8]
            workers = [] if state == "waiting" else [worker]
            branches.append({"lo": lo, "hi": hi, "state": state, "workers": workers})
        return json.dumps(timeline(steps, branches)).encode()

    def _cut(self) -> list[tuple[int, int]]:
        size = max(1, 8 // max(1, len(self._workers)))
        return [(lo, lo + size) for lo in range(0, 8, size)]

    def _member(self, rank: int, name: str) -> MemberStatus:
        rate = 9_000.0 / (1 + 0.3 * rank)
        done = self.number * 64 // len(self._workers)
        return member(name, rank, documents_per_s=rate, documents_done=done, hedges=rank)

    def _step(self, number: int) -> dict[str, Any]:
        rng = Random(number)
        legs = []
        for lo, hi in self._cut():
            rank = lo * len(self._workers) // 8
            compute_s = 3e-4 * (1 + 0.3 * rank) * rng.uniform(0.9, 1.2)
            sent_s, queued_s = 6e-5 + 1e-5 * rank, rng.uniform(0, 2e-5)
            received_s = sent_s + queued_s + compute_s + rng.uniform(5e-5, 1.2e-4)
            times = {"queued_s": queued_s, "compute_s": compute_s, "received_s": received_s}
            legs.append(leg(self._workers[rank], lo, hi, sent_s, **times))
        end_s = max((one["received_s"] for one in legs), default=6e-4)
        made = step(number, legs, number * 1.3e-3)
        made["phases"]["compute"] = end_s - 6e-5
        made["seconds"] = sum(made["phases"].values())
        return made
