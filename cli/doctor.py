"""`gradflock doctor`: what to paste in an issue, and what looks wrong on this machine.

It changes nothing, asks no network and shows no secret. The numeric fingerprint is computed where
the kernels are on disk already, which takes a second; `--fingerprint` compiles them first.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from cli.errors import DONE, FAILURE
from cli.finding import Section
from cli.machine import examine_environment, examine_machine, examine_ports, examine_versions
from cli.options import option, run_dir_option
from cli.places import examine_data, examine_kernels, examine_keys, examine_run

LEVEL_WIDTH = len("warning")
COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@click.command()
@run_dir_option
@option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also look at a directory of keys.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--fingerprint",
    is_flag=True,
    help="Compute this machine's numeric fingerprint even if kernels have to be compiled for it.",
)
@click.pass_context
def doctor(
    ctx: click.Context, run_dir: Path | None, keys: Path | None, as_json: bool, fingerprint: bool
) -> None:
    """Say what gradflock runs on here, and what looks wrong; paste it in an issue.

    Nothing is changed, and no secret is shown. It takes a second or two. The exit code is 0 if
    nothing is wrong, and 1 if something is; a warning alone is 0.
    """
    sections = [
        examine_versions(),
        examine_machine(),
        examine_environment(),
        examine_ports(),
        examine_data(),
        examine_kernels(may_compile=fingerprint),
    ]
    if keys is not None:
        sections.append(examine_keys(keys))
    if run_dir is not None:
        sections.append(examine_run(run_dir))
    is_well = not any(one.level == "wrong" for section in sections for one in section.findings)
    if as_json:
        click.echo(_without_home(_json(sections, is_well=is_well)))
    else:
        for line in _lines(sections):
            click.echo(_without_home(line))
    ctx.exit(DONE if is_well else FAILURE)


def _json(sections: Sequence[Section], *, is_well: bool) -> str:
    facts = {section.title: section.facts for section in sections}
    findings = [asdict(one) for section in sections for one in section.findings]
    return json.dumps({"is_well": is_well, "facts": facts, "findings": findings})


def _lines(sections: Sequence[Section]) -> list[str]:
    width = max(len(name) for section in sections for name in section.facts)
    lines = []
    for section in (section for section in sections if section.facts):
        lines.append(section.title)
        lines += [f"  {name:{width}}  {value}" for name, value in section.facts.items()]
        lines.append("")
    lines.append("findings")
    for finding in (finding for section in sections for finding in section.findings):
        level = click.style(f"{finding.level:{LEVEL_WIDTH}}", fg=COLOURS[finding.level])
        lines.append(f"  {level}  {finding.text}")
    return lines


def _without_home(text: str) -> str:
    """Write ~ for the home directory: its name is often that of a person."""
    try:
        homes = {str(Path.home()), str(Path.home().resolve())} - {"/", "."}
    except RuntimeError:  # an account without one
        return text
    for home in homes:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    return text
