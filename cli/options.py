"""The flags that more than one command has.

Every flag `--some-thing` may also come from the variable GRADFLOCK_SOME_THING or from a TOML file
(`gradflock --config FILE`); the flag wins over the variable, the variable over the file, the file
over the default.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.errors import UsageError
from cli.plan import RESUME_ALWAYS, RESUME_AUTO, RESUME_NEVER
from cli.presets import DEFAULT_PRESET, PRESETS
from cli.whole_file import write_whole
from coordinator.settings import CheckpointEvery, Settings
from coordinator.store import KEEP
from engine.config import ACTIVATIONS, ENGINES, NORMS, SCHEDULES

F = TypeVar("F", bound=Callable[..., Any])

SAMPLER_ADDRESS = "tcp://127.0.0.1:5556"
HTTP_ADDRESS = "127.0.0.1:8000"
HTTP_OFF = "off"
DASHBOARD_ADDRESS = "127.0.0.1:8090"


def option(flag: str, *rest: str, **settings: Any) -> Callable[[F], F]:
    """A click option that can also be set by its GRADFLOCK_* variable."""
    name = flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *rest, envvar=f"GRADFLOCK_{name}", **settings)


class CheckpointEveryType(click.ParamType[CheckpointEvery]):
    """`100` is every 100 steps, `30s` every 30 seconds."""

    name = "N|SECONDSs"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> CheckpointEvery:
        if isinstance(value, CheckpointEvery):
            return value
        match = re.fullmatch(r"(?P<steps>[1-9]\d{0,9})|(?P<seconds>\d{1,9}(\.\d+)?)s", str(value))
        if match is None:
            self.fail(f"expected steps like 100 or seconds like 30s, got {value!r}", param, ctx)
        if match["steps"]:
            return CheckpointEvery(int(match["steps"]))
        return CheckpointEvery(None, float(match["seconds"]))


_TRAINING = [
    option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help=f"What no flag says, of a new run; {DEFAULT_PRESET} by default.",
    ),
    option(
        "--engine",
        type=click.Choice(ENGINES),
        help="How gradients are computed; compiled by default.",
    ),
    option("--data", metavar="names|PATH", help="Documents, one a line."),
    option("--steps", type=int, help="Optimizer updates in all."),
    option("--batch-size", type=int, help="Documents of one step."),
    option("--shards", type=int, help="Leaves of the reduction tree; part of the numbers."),
    option("--seed", type=int, help="Of shuffling, initialisation and the train's samples."),
    option("--held-out", type=float, help="Fraction of the documents that no step sees."),
    option("--n-layer", type=int),
    option("--n-embd", type=int),
    option("--n-head", type=int),
    option("--block-size", type=int, help="Positions that the model looks at."),
    option("--activation", type=click.Choice(ACTIVATIONS)),
    option("--norm", type=click.Choice(NORMS)),
    option("--learning-rate", type=float),
    option("--schedule", type=click.Choice(SCHEDULES), help="Of the learning rate."),
    option("--warmup-steps", type=int, help="Steps over which the learning rate rises."),
    option(
        "--checkpoint-every",
        type=CheckpointEveryType(),
        metavar=CheckpointEveryType.name,  # click would write it in capitals
        default="5s",
        show_default=True,
        help="Save every N steps or every so many seconds; a save waits for the held-out loss.",
    ),
    option(
        "--keep",
        type=click.IntRange(min=1),
        default=KEEP.newest,
        show_default=True,
        metavar="K",
        help="Keep the newest K checkpoints.",
    ),
    option(
        "--keep-every",
        type=click.IntRange(min=1),
        metavar="N",
        help="Also keep, for ever, the first checkpoint of every N steps.",
    ),
    option(
        "--max-unsaved",
        type=click.IntRange(min=1),
        default=10_000,
        show_default=True,
        metavar="STEPS",
        help="Stop when so many steps are at risk because saves fail.",
    ),
    option(
        "--resume",
        is_flag=False,
        flag_value=RESUME_ALWAYS,
        default=RESUME_NEVER,
        type=click.Choice([RESUME_NEVER, RESUME_ALWAYS, RESUME_AUTO]),
        help="Go on with the run in --run-dir; bare `--resume` is `always`, and `auto` begins one"
        " if there is none.",
    ),
]


_TRUST = [
    option(
        "--audit",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        metavar="P",
        help="Have a fraction of the branches computed twice, and compare.",
    ),
    option(
        "--on-liar",
        type=click.Choice(["go-back", "stop"]),
        default="go-back",
        show_default=True,
        help="What to do about steps to which a worker with wrong gradients has contributed.",
    ),
    option(
        "--accept-numerics",
        is_flag=True,
        help="Let workers in that round otherwise, and resume on a machine that does; the run then"
        " promises no equal bits.",
    ),
    option(
        "--max-losses",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        metavar="N",
        help="Stop when so many workers were lost over one branch.",
    ),
    option(
        "--max-memory-growth",
        type=click.IntRange(min=1),
        default=1024,
        show_default=True,
        metavar="MIB",
        help="Save and stop when the coordinator has grown so much.",
    ),
]


_WATCHING = [
    option(
        "--dashboard",
        metavar="HOST:PORT",
        help=f"Show the training on a live page there, {DASHBOARD_ADDRESS} for example.",
    ),
    option(
        "--timeline-filename",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write where the time of each step goes, as a Chrome trace that Perfetto opens.",
    ),
    option(
        "--grad-norms",
        is_flag=True,
        help="Tell the norm of each matrix's gradient, here and in metrics.jsonl.",
    ),
]


def training_options(command: F) -> F:
    """Add the flags that decide a run."""
    return _add(_TRAINING, command)


def trust_options(command: F) -> F:
    """Add the flags that say how far others are trusted."""
    return _add(_TRUST, command)


def watching_options(command: F) -> F:
    """Add the flags that say what people see of a run."""
    return _add(_WATCHING, command)


DEPLOYMENT = (  # flags that say how a run is deployed, and not what it is
    *("checkpoint_every", "keep", "keep_every", "max_unsaved"),
    *("audit", "on_liar", "accept_numerics", "max_losses", "max_memory_growth"),
    *("dashboard", "timeline_filename", "grad_norms"),
)


def take_deployment(flags: dict[str, Any]) -> dict[str, Any]:
    """Take from a command's flags those that say how a run is deployed.

    Raises:
        UsageError: they contradict each other.
    """
    taken = {name: flags.pop(name) for name in DEPLOYMENT}
    if taken["audit"] and taken["accept_numerics"]:
        raise UsageError(
            "expected --audit or --accept-numerics, got both"
            " — workers that round otherwise would all be called liars"
        )
    return taken


def settings_of(deployment: Mapping[str, Any]) -> Settings:
    """Give what the coordinator's state machine must know of `take_deployment`."""
    return Settings(
        deployment["checkpoint_every"],
        losses_max=deployment["max_losses"],
        audit=deployment["audit"],
        stops_on_liar=deployment["on_liar"] == "stop",
        accepts_numerics=deployment["accept_numerics"],
        unsaved_max=deployment["max_unsaved"],
        has_grad_norms=deployment["grad_norms"],
    )


def _add(options: Sequence[Callable[[F], F]], command: F) -> F:
    for decorate in reversed(options):
        command = decorate(command)
    return command


bind_option = option("--bind", metavar="ADDRESS", help="tcp://host:port; port 0 takes a free one.")
run_dir_option = option(
    "--run-dir", type=click.Path(file_okay=False, path_type=Path), help="Where a run lives."
)
insecure_option = option(
    "--insecure", is_flag=True, help="Allow a plain connection on an address others can reach."
)
keys_option = option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Encrypt, and let in only whose key `gradflock keys` has made in DIR.",
)
key_option = option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Encrypt, and prove who this is: made by `gradflock keys new` where the other end runs.",
)
health_file_option = option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there each second that all is well; `gradflock health FILE` reads it.",
)
http_option = option(
    "--http",
    metavar="HOST:PORT|off",
    default=HTTP_ADDRESS,
    show_default=True,
    help="Where the sampler answers HTTP; port 0 takes a free one.",
)
core_option = option(
    "--core", type=click.IntRange(min=0), metavar="N", help="Run on this core alone."
)
log_format_option = option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Of standard error: lines for people, or one JSON object a line.",
)
parent_option = click.option(
    "--parent", type=int, hidden=True, help="Leave when this process is no longer the parent."
)
address_file_option = click.option(
    "--address-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the address there once it is bound.",
)


def write_address(path: Path | None, address: str) -> None:
    """Hand an address over to whoever waits for the file; it appears whole."""
    if path is not None:
        write_whole(path, address + "\n")


def newest_run_dir() -> Path:
    """Give the run directory under ./runs that was made last.

    Raises:
        UsageError: there is none.
    """
    candidates = [path for path in Path("runs").glob("*") if (path / "checkpoints").is_dir()]
    if not candidates:
        raise UsageError("expected a run under ./runs, got none — train one, or give --run-dir")
    return max(candidates, key=lambda path: path.stat().st_mtime_ns)
