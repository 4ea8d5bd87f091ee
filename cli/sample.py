"""`gradflock sample`: ask for names, from a running sampler or from a run directory."""

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from cli.errors import RoleFailed, UsageError
from cli.options import newest_run_dir, option, run_dir_option
from coordinator.errors import RunDirectoryError
from sampler.model import Follower
from wire.address import check_target
from wire.sampling import SampleReply, SampleRequest, decode_reply, encode_request
from wire.transport import Connection

T = TypeVar("T")

CONNECT_S = 3.0  # how long a sampler may take to be there
ANSWER_S = 60.0  # and to answer


@click.command()
@run_dir_option
@option("--connect", metavar="ADDRESS", help="A running sampler's tcp://host:port.")
@click.option("-n", "count", type=int, default=1, show_default=True, help="How many.")
@option("--temperature", type=float, default=0.5, show_default=True)
@click.option("--seed", type=int, help="Of the drawing; the same seed gives the same names.")
@option("--prompt", default="", help="What each name begins with.")
@click.option(
    "--rng",
    type=click.Choice(["seed", "microgpt"]),
    default="seed",
    help="microgpt goes on with the generator of the run, as microgpt itself samples.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sample(
    run_dir: Path | None,
    connect: str | None,
    count: int,
    temperature: float,
    seed: int | None,
    prompt: str,
    rng: str,
    as_json: bool,
) -> None:
    """Draw names from the newest checkpoint of a run (by default the newest under ./runs)."""
    request = SampleRequest(prompt, count, temperature, seed, None, rng)
    if problem := request.problem():
        raise UsageError(problem)
    if connect is not None and run_dir is not None:
        raise UsageError("expected --connect or --run-dir, got both — give one of them")
    if connect is not None:
        reply = ask(check_target(connect), request)
    else:
        reply = draw(run_dir or newest_run_dir(), request)
    if as_json:
        values = {
            "samples": list(reply.samples),
            "step": reply.step,
            "sha256": reply.sha256,
            "seed": reply.seed,
        }
        click.echo(json.dumps(values))
    else:
        for text in reply.samples:
            click.echo(text)


def draw(run_dir: Path, request: SampleRequest) -> SampleReply:
    """Draw from a run directory, without a sampler.

    Raises:
        RunDirectoryError: there is no valid checkpoint.
        UsageError: the prompt cannot be continued.
    """
    follower = Follower(run_dir)
    complaints = follower.refresh()
    model = follower.model
    if model is None:
        reason = f" ({complaints[0]})" if complaints else ""
        raise RunDirectoryError(
            f"expected a run with a checkpoint, got none{reason} — {run_dir}; check --run-dir"
        )
    try:
        prompt = model.check_prompt(request.prompt)
    except ValueError as error:
        raise UsageError(str(error)) from None
    rng, seed = model.rng_for(request, secrets.randbits(32))
    samples = tuple(
        model.draw(rng, request.temperature, prompt, request.max_tokens) for _ in range(request.n)
    )
    return SampleReply(samples, model.step, model.sha256, seed)


def ask(address: str, request: SampleRequest) -> SampleReply:
    """Ask a running sampler.

    Raises:
        RoleFailed: it does not answer, or refuses.
        MalformedFrame: what answers is not a sampler.
    """
    connection = Connection(address)
    try:
        if not _wait_for(connection, CONNECT_S, lambda: connection.is_up or None):
            raise RoleFailed(
                f"expected a sampler, got none — {address};"
                " start one with gradflock serve, or give --run-dir"
            )
        connection.send([b"", encode_request(request)])
        frames = _wait_for(connection, ANSWER_S, connection.receive)
        if frames is None:
            raise RoleFailed(
                f"expected an answer within {ANSWER_S:g} s, got none — {address};"
                " check that it is a sampler"
            )
        reply = decode_reply(frames[-1])
        if reply.code:
            raise RoleFailed(f"{reply.text} — sampler at {address}")
        return reply
    finally:
        connection.close()


def _wait_for(connection: Connection, seconds: float, attempt: Callable[[], T | None]) -> T | None:
    """Try again whenever the connection stirs; None if it never works out."""
    deadline_s = time.monotonic() + seconds
    while (result := attempt()) is None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return None
        connection.wait(min(left_s, 0.05))
        connection.changes()
    return result
