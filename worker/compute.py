"""What a worker can compute: whether a task is one, and how long the largest portion takes."""

from engine.config import WorkConfig
from engine.gradient import Engine, GradientSum
from engine.packed import PackedDocuments
from engine.params import from_bytes
from engine.shards import shard_bounds


class TaskMismatch(Exception):
    """Raised when a task's documents are not those of a branch of this run."""


def check_documents(work: WorkConfig, lo: int, hi: int, documents: PackedDocuments) -> None:
    """Make sure that a branch can be computed, whoever sent it.

    Raises:
        TaskMismatch: it cannot.
    """
    if not 0 <= lo < hi <= work.shards:
        raise TaskMismatch(f"expected shards within 0 to {work.shards}, got {lo} to {hi} — task")
    first, _ = shard_bounds(lo, work.batch_size, work.shards)
    _, last = shard_bounds(hi - 1, work.batch_size, work.shards)
    if len(documents) != last - first:
        raise TaskMismatch(f"expected {last - first} documents, got {len(documents)} — task")
    model = work.model
    shortest, longest, largest = documents.shortest, documents.longest, documents.largest
    if not 2 <= shortest <= longest <= model.block_size + 1 or largest >= model.vocab_size:
        raise TaskMismatch(
            f"expected 2 to {model.block_size + 1} tokens below {model.vocab_size},"
            f" got {shortest} to {longest} up to {largest} — task"
        )


def check_params(work: WorkConfig, params: bytes) -> None:
    """Make sure that parameters, where a task brings any, are those of the model.

    Raises:
        TaskMismatch: they are not.
    """
    expected = 8 * work.model.num_params
    if params and len(params) != expected:
        raise TaskMismatch(f"expected {expected} bytes of parameters, got {len(params)} — task")


def probe_portion(engine: Engine, work: WorkConfig) -> GradientSum:
    """Differentiate the largest portion that a task can bring, to see how long that takes."""
    model = work.model
    params = from_bytes(bytes(8 * model.num_params))
    longest = [0] * (model.block_size + 1)
    largest_shard = [longest] * -(-work.batch_size // work.shards)
    return engine.gradient(params, engine.portions(largest_shard)[0])
