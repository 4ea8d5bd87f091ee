"""`gradflock coordinator`: own one run, and lease its branches to whoever joins."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli.cores import stay_on
from cli.errors import RoleFailed, UsageError
from cli.kernels import make_engine
from cli.live_view import choose_view
from cli.options import (
    address_file_option,
    bind_option,
    core_option,
    health_file_option,
    insecure_option,
    keys_option,
    log_format_option,
    parent_option,
    run_dir_option,
    settings_of,
    take_deployment,
    training_options,
    trust_options,
    watching_options,
    write_address,
)
from cli.plan import check_resumable, plan_run
from cli.pulse import Pulse
from cli.security import doorkeeper_of
from cli.status import ADDRESS_FILE
from cli.stopping import StopFlag
from cli.summary import numerics_note
from cli.view import JsonView, View, say
from cli.watching import Watching
from coordinator.memory import MIB
from coordinator.metrics import held_out_loss_of
from coordinator.run_directory import RunDirectory
from coordinator.service import CoordinatorService, Deployment
from coordinator.status_door import ANY_PORT
from coordinator.store import Keep
from wire.address import check_address
from wire.tcp import check_free


@click.command()
@training_options
@trust_options
@watching_options
@bind_option
@run_dir_option
@keys_option
@insecure_option
@core_option
@log_format_option
@address_file_option
@health_file_option
@parent_option
def coordinator(
    preset: str | None,
    resume: str,
    bind: str | None,
    run_dir: Path | None,
    keys: Path | None,
    insecure: bool,
    core: int | None,
    log_format: str,
    address_file: Path | None,
    health_file: Path | None,
    parent: int | None,
    **flags: Any,
) -> int:
    """Own a run: its documents, its parameters and its checkpoints."""
    stop = StopFlag(parent)
    if run_dir is None:
        raise UsageError("expected a run directory, got none — coordinator; give --run-dir")
    said = take_deployment(flags)
    bind = check_address(bind or "tcp://127.0.0.1:5555")
    warn = _warner(log_format, parent)
    keeper = doorkeeper_of(bind, keys, insecure and not _is_for_page(keys, said), warn)
    check_free(bind)  # a busy port is known before a run has begun
    directory = RunDirectory(run_dir)
    check_resumable(directory, resume)
    watching = Watching(run_dir, said, insecure)
    with directory.lock():
        plan = plan_run(directory, resume, preset, flags, warn)
        view = choose_view(log_format, plan.run.train.steps)

        def on_bound(address: str, status_address: str) -> None:
            write_address(run_dir / ADDRESS_FILE, status_address)
            write_address(address_file, address)
            if log_format == "text":
                view.say(f"coordinator at {address}, run in {run_dir}{plan.beginning}")

        try:
            with stop, watching.begin(view.say, plan.resumed is not None):
                stay_on(core)  # not before: the page is no part of the training
                deployment = Deployment(
                    *(directory, plan.run, plan.dataset.record, plan.resumed, settings_of(said)),
                    *(bind, partial(make_engine, say=view.say), ANY_PORT),
                    said["max_memory_growth"] * MIB,
                    Keep(said["keep"], said["keep_every"]),
                    keeper,
                    Pulse(health_file).beat,
                    watching.trace,
                )
                failure = _serve(deployment, view, stop, on_bound)
        finally:
            (run_dir / ADDRESS_FILE).unlink(missing_ok=True)
            view.close()
    if failure is not None:
        raise RoleFailed(failure)
    if log_format == "text":
        _print_end(directory, plan.run.train.steps)
    return stop.exit_code


def _serve(
    deployment: Deployment, view: View, stop: StopFlag, on_bound: Callable[[str, str], None]
) -> str | None:
    service = CoordinatorService(deployment, view.observe)
    if service.complaint:
        view.say(service.complaint)
    return service.serve(stop, on_bound)


def _is_for_page(keys: Path | None, said: Mapping[str, Any]) -> bool:
    """Say whether --insecure is there for the page, which has no keys, while the training has."""
    return keys is not None and said["dashboard"] is not None


def _warner(log_format: str, parent: int | None) -> Callable[[str], None]:
    """Give what tells people what they should know before a view is chosen."""
    if parent is not None:  # `train` has said it already
        return _ignore
    return say if log_format == "text" else JsonView(sys.stderr).say


def _print_end(directory: RunDirectory, steps: int) -> None:
    checkpoint, _ = directory.checkpoints.newest()
    if checkpoint is not None:
        loss = "none yet" if checkpoint.loss is None else f"{checkpoint.loss:.4f}"
        held_out_loss = held_out_loss_of(directory.metrics, checkpoint.step)
        held_out = "" if held_out_loss is None else f" held-out loss {held_out_loss:.4f},"
        click.echo(
            f"{checkpoint.step} of {steps} steps, loss {loss},{held_out}"
            f" weights sha256 {checkpoint.weights_sha256}{numerics_note(checkpoint)}"
        )


def _ignore(_text: str) -> None:
    pass
