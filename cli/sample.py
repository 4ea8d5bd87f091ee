"""`gradflock sample`: ask for names, from a running sampler or from a run directory."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from cli.asking import Door, answers
from cli.errors import RoleFailed, UsageError
from cli.options import SAMPLER_ADDRESS, key_option, newest_run_dir, option, run_dir_option
from cli.security import client_key_of
from coordinator.errors import RunDirectoryError
from sampler.models import Models
from sampler.sampling import draw_all
from sampler.socket_door import order_of
from wire.address import check_target
from wire.errors import TransportError, WireError
from wire.keys import ClientKey
from wire.sampling import SampleReply, SampleRequest, decode_reply, encode_request

ADDRESS_FILE = "sampler.address"  # in a run's directory, while `train` runs its sampler
CONNECT_S = 3.0  # how long a sampler that was named may take to be there
GLANCE_S = 0.5  # and one that may be there
ANSWER_S = 60.0  # and to answer
REMEDY = "start one with gradflock serve, or give --run-dir"

Tell = Callable[[int, str, str], None]  # (sample, more of its text, why it ended)


@click.command()
@run_dir_option
@option("--connect", metavar="ADDRESS", help="A running sampler's tcp://host:port.")
@key_option
@click.option("-n", "count", type=int, default=1, show_default=True, help="How many.")
@option("--temperature", type=float, default=0.5, show_default=True)
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--max-tokens", type=int, help="How many characters may follow the prompt.")
@click.option("--seed", type=int, help="Of the drawing; the same seed gives the same names.")
@option("--prompt", default="", help="What each name begins with.")
@click.option("--model", help="`names` is the newest checkpoint, `names@500` that of step 500.")
@click.option(
    "--rng",
    type=click.Choice(["seed", "microgpt"]),
    default="seed",
    help="microgpt goes on with the generator of the run, as microgpt itself samples.",
)
@click.option("--stream", is_flag=True, help="Show each name while it is drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sample(
    run_dir: Path | None,
    connect: str | None,
    key: Path | None,
    count: int,
    temperature: float,
    top_p: float,
    max_tokens: int | None,
    seed: int | None,
    prompt: str,
    model: str | None,
    rng: str,
    stream: bool,
    as_json: bool,
) -> None:
    """Draw names from a run's newest checkpoint, by its sampler if one runs.

    Without --connect and --run-dir it is the newest run under ./runs.
    """
    request = SampleRequest(prompt, count, temperature, seed, max_tokens, rng, stream, top_p, model)
    if problem := request.problem():
        raise UsageError(problem)
    if connect is not None and run_dir is not None:
        raise UsageError("expected --connect or --run-dir, got both — give one of them")
    client_key = None if connect is None else client_key_of(key)
    show = Show(request) if stream and not as_json else None
    tell = show.piece if show else _tell_nobody
    reply: SampleReply | None
    if connect is not None:
        reply = draw_from(check_target(connect), request, tell, client_key)
        assert reply is not None, "somebody was there"
    else:
        reply = draw_nearby(run_dir, request, tell)
    if as_json:
        values = {"samples": list(reply.samples), "step": reply.step, "sha256": reply.sha256}
        click.echo(json.dumps({**values, "seed": reply.seed}))
    elif show is None:
        for text in reply.samples:
            click.echo(text)


class Show:
    """Samples on standard output while they are drawn: one a line, each when its turn comes."""

    def __init__(self, request: SampleRequest) -> None:
        self._texts = [request.prompt] * request.n
        self._is_over = [False] * request.n
        self._line = 0
        self._shown = 0

    def piece(self, sample: int, text: str, why: str) -> None:
        self._texts[sample] += text
        self._is_over[sample] = bool(why)
        while self._line < len(self._texts):
            whole = self._texts[self._line]
            click.echo(whole[self._shown :], nl=False)
            self._shown = len(whole)
            if not self._is_over[self._line]:
                return
            click.echo()
            self._line, self._shown = self._line + 1, 0


def _tell_nobody(_sample: int, _text: str, _why: str) -> None:
    pass


def draw_nearby(run_dir: Path | None, request: SampleRequest, tell: Tell) -> SampleReply:
    """Draw by the sampler of a run if one is running, and from its directory otherwise.

    Raises:
        UsageError: there is no run, or it cannot go on from the prompt.
        RunDirectoryError: the run has no valid checkpoint.
    """
    try:
        run_dir = run_dir or newest_run_dir()
    except UsageError:
        reply = draw_from(SAMPLER_ADDRESS, request, tell, is_patient=False)
        if reply is None:
            raise
        return reply
    models = Models(run_dir)
    complaints = models.refresh()
    newest = models.newest
    if newest is None:
        reason = f" ({complaints[0]})" if complaints else ""
        raise RunDirectoryError(
            f"expected a run with a checkpoint, got none{reason} — {run_dir}; check --run-dir"
        )
    for address in _addresses(run_dir):
        reply = draw_from(address, request, tell, run=newest.run, is_patient=False)
        if reply is not None:
            return reply
    return _draw(models, request, tell)


def draw_from(
    address: str,
    request: SampleRequest,
    tell: Tell,
    key: ClientKey | None = None,
    run: str | None = None,
    is_patient: bool = True,
) -> SampleReply | None:
    """Have a running sampler draw.

    Args:
        key: that opens its door; None opens a plain one.
        run: whose sampler it has to be; None is any.
        is_patient: somebody has to be there.

    Returns:
        None if it is another run's, or nobody is there.

    Raises:
        RoleFailed: it does not answer, or refuses.
        MalformedFrame: what answers is not a sampler.
    """
    connect_s = CONNECT_S if is_patient else GLANCE_S
    door = Door(address, "a sampler", address, REMEDY, connect_s, ANSWER_S, is_patient, key)
    try:
        for frames in answers(door, [b"", encode_request(request)]):
            reply = decode_reply(frames[-1])
            if run not in (None, reply.run):
                return None
            if reply.code:
                raise SamplerRefused(f"{reply.text} — sampler at {address}")
            for piece in reply.pieces:
                tell(*piece)
            if not reply.pieces:
                return reply
    except SamplerRefused:
        raise
    except (RoleFailed, WireError):
        if is_patient:
            raise
    return None


class SamplerRefused(RoleFailed):
    """Raised when a sampler answers, but not with samples."""


def _addresses(run_dir: Path) -> Iterator[str]:
    """Give where a run's sampler may be; what is there may be another's by now."""
    with suppress(OSError, UnicodeDecodeError, TransportError):
        yield check_target((run_dir / ADDRESS_FILE).read_text().strip())
    yield SAMPLER_ADDRESS


def _draw(models: Models, request: SampleRequest, tell: Tell) -> SampleReply:
    """Draw without a sampler, by what a sampler draws with."""
    model = models.newest if request.model is None else models.find(request.model)
    if model is None:
        known = ", ".join(model_id for model_id, _ in models.ids())
        raise UsageError(f"expected a model of this run, got {request.model!r} — one of: {known}")
    try:
        order = order_of(model, request, lambda: secrets.randbits(32))
    except ValueError as error:
        raise UsageError(str(error)) from None
    texts = draw_all(order, lambda piece: tell(piece.choice, piece.text, piece.finish_reason))
    samples = tuple(request.prompt + text for text in texts)
    return SampleReply(samples, model.step, model.sha256, order.seed, run=model.run)
