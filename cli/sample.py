"""`gradflock sample`: ask for names, from a running sampler or from a run directory."""

import json
import secrets
from pathlib import Path

import click

from cli.asking import Door, ask
from cli.errors import RoleFailed, UsageError
from cli.options import newest_run_dir, option, run_dir_option
from coordinator.errors import RunDirectoryError
from sampler.model import Follower
from wire.address import check_target
from wire.sampling import SampleReply, SampleRequest, decode_reply, encode_request

CONNECT_S = 3.0  # how long a sampler may take to be there
ANSWER_S = 60.0  # and to answer
REMEDY = "start one with gradflock serve, or give --run-dir"


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
        reply = draw_from(check_target(connect), request)
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


def draw_from(address: str, request: SampleRequest) -> SampleReply:
    """Have a running sampler draw.

    Raises:
        RoleFailed: it does not answer, or refuses.
        MalformedFrame: what answers is not a sampler.
    """
    door = Door(address, "a sampler", address, REMEDY, CONNECT_S, ANSWER_S)
    reply = decode_reply(ask(door, [b"", encode_request(request)])[-1])
    if reply.code:
        raise RoleFailed(f"{reply.text} — sampler at {address}")
    return reply
