"""`gradflock train`: one machine, one command: a coordinator, workers, a sampler, and names."""

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click

from cli.cores import Claim, seats, usable_cores
from cli.errors import UsageError
from cli.live_view import choose_view
from cli.options import (
    SAMPLER_ADDRESS,
    http_option,
    insecure_option,
    log_format_option,
    option,
    run_dir_option,
    take_deployment,
    training_options,
    trust_options,
    watching_options,
)
from cli.plan import RESUME_NEVER, plan_run
from cli.security import check_api_key, check_http, check_security
from cli.stopping import StopFlag
from cli.summary import print_summary
from cli.supervisor import LocalRun, Supervisor
from cli.view import JsonView, say
from coordinator.run_directory import RunDirectory
from wire.address import check_address
from wire.sampling import TEMPERATURE_RANGE, is_temperature
from wire.tcp import check_free

WORKERS_MAX = 256


@click.command()
@training_options
@trust_options
@watching_options
@run_dir_option
@option("--workers", metavar="N|auto", default="auto", show_default=True, help="Processes.")
@option("--temperature", type=float, default=0.5, show_default=True, help="Of the 20 samples.")
@option("--sampler-bind", metavar="ADDRESS", default=SAMPLER_ADDRESS, show_default=True)
@http_option
@insecure_option
@option(
    "--pin/--no-pin",
    default=True,
    show_default=True,
    help="Keep each worker on a core of its own, where there are enough.",
)
@log_format_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def train(
    preset: str | None,
    resume: str,
    run_dir: Path | None,
    workers: str,
    temperature: float,
    sampler_bind: str,
    http: str,
    insecure: bool,
    pin: bool,
    log_format: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Train on this machine: a coordinator, workers and a sampler, until the last step."""
    began_s = time.monotonic()
    stop = StopFlag()
    tell = JsonView(sys.stderr).say if log_format == "json" else say
    num_workers = _count_workers(workers)
    _check(temperature, run_dir, resume)
    deployment = take_deployment(flags)
    check_security(check_address(sampler_bind), insecure, tell)
    check_api_key(None)  # its sampler takes the variable
    has_http = check_http(http, insecure, tell) is not None
    directory = RunDirectory(run_dir or _fresh_run_dir())
    plan = plan_run(directory, resume, preset, flags, tell)
    check_free(sampler_bind)  # a busy port is known before anything has begun
    if has_http:
        check_free(f"tcp://{http}")
    with directory.lock():
        (directory.path / "logs").mkdir(exist_ok=True)
    # The coordinator is to train on what was found here, even if the network changes its mind.
    said = {**flags, **deployment, "data": plan.dataset.name, "preset": preset, "resume": resume}
    sampler_flags = [f"--http={http}", *(["--insecure"] if insecure else [])]
    steps = plan.run.train.steps
    claim = _claim_cores(pin, num_workers)
    local = LocalRun(
        *(directory, num_workers, seats(claim.cores, num_workers), steps, said),
        *(sampler_bind, sampler_flags),
    )
    tell(
        f"{len(plan.run.documents):,} documents ({plan.dataset.name}),"
        f" {plan.run.model.num_params:,} parameters, {num_workers} workers,"
        f" run in {directory.path}{plan.beginning}, sampler at {sampler_bind}"
        + (f" and http://{http}" if has_http else "")
    )
    view = choose_view(log_format, steps)
    try:
        with stop:
            Supervisor(local, view, stop).run()
    finally:
        view.close()
        claim.release()
    if stop() and not directory.checkpoints.steps():
        tell("stopped before the first checkpoint; there is nothing to go on from")
        return stop.exit_code
    seconds = time.monotonic() - began_s
    print_summary(directory, plan, num_workers, temperature, seconds, as_json)
    return stop.exit_code


def _check(temperature: float, run_dir: Path | None, resume: str) -> None:
    if not is_temperature(temperature):
        raise UsageError(f"expected {TEMPERATURE_RANGE}, got {temperature:g} — --temperature")
    if run_dir is None and resume != RESUME_NEVER:
        raise UsageError("expected --run-dir with --resume, got none — train; name the run")


def _count_workers(workers: str) -> int:
    if workers == "auto":
        return min(len(usable_cores()), WORKERS_MAX)
    if not workers.isdecimal() or not 1 <= int(workers) <= WORKERS_MAX:
        raise UsageError(
            f"expected auto or 1 to {WORKERS_MAX} workers, got {workers!r} — --workers"
        )
    return int(workers)


def _claim_cores(pin: bool, workers: int) -> Claim:
    """Take the cores that no other run has, if they are wanted and enough."""
    claim = Claim(Path(gettempdir()) / f"gradflock-cores-{os.getuid()}")
    if not pin or len(claim.cores) < workers:
        claim.release()  # others may have them
    return claim


def _fresh_run_dir() -> Path:
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / name
    attempt = 1
    while path.exists():
        attempt += 1
        path = Path("runs") / f"{name}-{attempt}"
    return path
