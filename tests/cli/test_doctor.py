"""`gradflock doctor` as people type it, on machines where something is wrong."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.kernels import keep_library, make_engine
from cli.machine import cgroup_limits, examine_ports
from cli.places import DEFAULT_MODEL
from coordinator.run_directory import RunDirectory
from engine.fingerprint import fingerprint
from tests.cli.checkpoints import damage
from tests.cli.metrics_files import ended, step_line, write_run
from wire.keyring import Keyring, write_secret

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_directory")]

SECRET = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory; the kernels of the tests come as an image brings its own."""
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def examined(
    capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0
) -> tuple[dict[str, dict[str, str]], list[tuple[str, str]]]:
    """Give the facts and the findings, as (level, text)."""
    assert ended("doctor", "--json", *arguments) == code
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert values["is_well"] == (code == 0)
    return values["facts"], [(one["level"], one["text"]) for one in values["findings"]]


def of_level(findings: list[tuple[str, str]], level: str) -> list[str]:
    return [text for one, text in findings if one == level and not text.startswith("port ")]


def tree(path: Path) -> dict[Path, tuple[int, int]]:
    found = {one: one.stat() for one in path.rglob("*") if one.name != "LOCK"}
    return {one: (status.st_ino, status.st_mtime_ns) for one, status in found.items()}


def keys_of(path: Path) -> Keyring:
    keyring = Keyring(path)
    for name in ("desk", "lab", "lost"):
        keyring.new(name, lambda key, name=name: write_secret(path / f"{name}.key", key.to_toml()))
    keyring.revoke("lost")
    return keyring


def secrets_in(path: Path) -> set[str]:
    """Give every key that a directory holds."""
    files = [file for file in path.rglob("*") if file.suffix in (".key", ".pub")]
    return {
        word.strip('"') for file in files for word in file.read_text().split() if len(word) > 30
    }


# ---- a machine that is well ---------------------------------------------------------------------


def test_sections_are_aligned_and_findings_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("doctor") == 0

    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert [title for title in titles if title != "environment"] == [
        *("versions", "machine", "ports", "data", "kernels", "findings")
    ]
    facts = [line for line in lines[: lines.index("findings")] if line.startswith("  ")]
    width = max(len(line[2:].partition("  ")[0]) for line in facts)
    assert {line[width + 2 : width + 4] for line in facts} == {"  "}
    assert all(
        line.split()[0] in ("ok", "warning") for line in lines[lines.index("findings") + 1 :]
    )


def test_versions_are_those_that_are_imported(capsys: pytest.CaptureFixture[str]) -> None:
    facts, _ = examined(capsys)

    assert facts["versions"]["numpy"] == np.__version__
    assert facts["versions"]["libzmq"].endswith(", with CURVE")


def test_a_cold_cache_stays_as_it_is(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    facts, findings = examined(capsys)

    assert facts["kernels"]["state"] == "cold"
    assert facts["kernels"]["fingerprint"].startswith("not computed: --fingerprint ")
    assert of_level(findings, "warning") == []
    assert not cache.exists()


def test_a_warm_cache_gives_the_fingerprint_and_stays_as_it_is(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    keep_library(DEFAULT_MODEL, print)
    before = tree(cache)

    facts, findings = examined(capsys)

    expected = fingerprint(make_engine("compiled", DEFAULT_MODEL, print), DEFAULT_MODEL)
    assert facts["kernels"]["state"] == "warm"
    assert facts["kernels"]["fingerprint"] == expected
    assert ("ok", "kernels are compiled") in findings
    assert tree(cache) == before


def test_a_cold_cache_is_filled_if_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    facts, _ = examined(capsys, "--fingerprint")

    assert len(facts["kernels"]["fingerprint"]) == 64
    assert any(cache.rglob("kernels.json"))


def test_kernels_of_an_image_are_not_called_missing(capsys: pytest.CaptureFixture[str]) -> None:
    _, findings = examined(capsys)

    assert ("ok", "the image brings kernels: the next run takes them") in findings


def test_the_home_directory_is_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert ended("doctor", "--run-dir", tmp_path / "nowhere") == 1

    out = capsys.readouterr().out
    assert "~/cache/kernels/" in out
    assert "got none — ~/nowhere" in out
    assert str(tmp_path) not in out


def test_what_may_be_a_secret_is_only_said_to_be_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADFLOCK_API_KEY", SECRET)
    monkeypatch.setenv("GRADFLOCK_STEPS", "300")

    assert ended("doctor") == 0

    out = capsys.readouterr().out
    assert SECRET not in out
    assert "GRADFLOCK_API_KEY" in out
    assert "300" in out


# ---- data and kernels ---------------------------------------------------------------------------


def test_a_damaged_list_of_names_is_wrong(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "names.txt").write_text("emma\n")

    facts, findings = examined(capsys, code=1)

    [wrong] = of_level(findings, "wrong")
    assert facts["data"]["names"].endswith("names.txt: damaged")
    assert wrong.startswith("expected sha256 0a30b5557f19..., got another — ")


def test_the_canonical_list_of_names_is_right(
    capsys: pytest.CaptureFixture[str], cache: Path, canonical_names: Path
) -> None:
    cache.mkdir()
    (cache / "names.txt").write_bytes(canonical_names.read_bytes())

    assert ("ok", "the list of names is right") in examined(capsys)[1]


def test_damaged_kernels_are_a_warning_and_are_not_used(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    keep_library(DEFAULT_MODEL, print)
    for file in cache.rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:-1])

    facts, findings = examined(capsys)

    [warning] = of_level(findings, "warning")
    assert warning.startswith("kernels on disk are damaged")
    assert facts["kernels"]["fingerprint"].startswith("not computed")


def test_a_cache_that_cannot_be_made_is_a_warning(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    cache.write_bytes(b"")

    [warning] = of_level(examined(capsys)[1], "warning")

    assert warning.startswith("cannot keep kernels in ")
    assert warning.endswith("set GRADFLOCK_CACHE_DIR")


# ---- keys ---------------------------------------------------------------------------------------


def test_keys_are_counted_and_none_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys_of(tmp_path / "keys")

    assert ended("doctor", "--keys", "keys") == 0
    out = capsys.readouterr().out
    facts, findings = examined(capsys, "--keys", "keys")

    expected = {"place": "keys", "allowed": "2", "revoked": "1", "server key": "right"}
    assert facts["keys"] == expected
    assert ("ok", "keys can be used, and only by their owner") in findings
    secrets = secrets_in(tmp_path / "keys")
    assert len(secrets) == 8, "the server's pair and three more"
    assert not [secret for secret in secrets if secret in out]


@pytest.mark.parametrize("name", ["server.key", "desk.key"])
def test_a_key_that_others_can_read_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    keys_of(tmp_path / "keys")
    (tmp_path / "keys" / name).chmod(0o644)

    [wrong] = of_level(examined(capsys, "--keys", "keys", code=1)[1], "wrong")

    assert wrong.startswith("expected a key file that only its owner can read, got mode 0644")
    assert f"keys/{name}" in wrong


def test_a_list_that_others_can_write_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys_of(tmp_path / "keys")
    (tmp_path / "keys" / "allowed").chmod(0o777)

    [wrong] = of_level(examined(capsys, "--keys", "keys", code=1)[1], "wrong")

    assert wrong.startswith("expected a directory that only its owner can write to")


def test_a_directory_without_a_server_key_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)

    facts, findings = examined(capsys, "--keys", "keys", code=1)

    assert facts["keys"]["server key"] == "cannot be used"
    assert of_level(findings, "wrong")[0].startswith("expected server.key, got none — keys; ")


def test_a_secret_in_the_place_of_a_public_key_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys_of(tmp_path / "keys")
    public = tmp_path / "keys" / "allowed" / "desk.pub"
    public.write_text(f"it's {SECRET}")

    _, findings = examined(capsys, "--keys", "keys")

    [warning] = of_level(findings, "warning")
    assert warning == (
        "expected a public key, got something else — keys/allowed/desk.pub;"
        " remove it, or make a new key"
    )


# ---- a run --------------------------------------------------------------------------------------


def test_a_run_that_is_whole_says_how_far_it_is(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run.path, *(step_line(step) for step in range(1, 7)))

    facts, findings = examined(capsys, "--run-dir", "run")

    assert facts["run"]["newest checkpoint"] == "step 6"
    assert facts["run"]["metrics"] == "up to step 6"
    assert facts["run"]["free space"].endswith("iB")
    assert of_level(findings, "warning") == []


def test_a_run_that_is_held_names_the_process_and_stays_free_to_take(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with run.lock():
        facts, _ = examined(capsys, "--run-dir", "run")

    assert facts["run"]["held by"] == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_damaged_checkpoint_is_a_warning_while_there_is_another(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run.path, step_line(1))
    damage(run, 6)

    facts, findings = examined(capsys, "--run-dir", "run")

    [warning] = of_level(findings, "warning")
    assert warning.startswith("a checkpoint is not valid: expected ")
    assert facts["run"]["newest checkpoint"] == "step 3"


def test_a_run_without_a_valid_checkpoint_is_wrong(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (3, 6):
        damage(run, step)

    _, findings = examined(capsys, "--run-dir", "run", code=1)

    [wrong] = of_level(findings, "wrong")
    assert wrong.startswith("no checkpoint is valid")


# ---- the machine --------------------------------------------------------------------------------


def test_a_taken_port_is_a_warning_that_names_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        section = examine_ports([port])

    [finding] = section.findings
    assert finding.level == "warning"
    assert finding.text.startswith(f"port {port} is taken by ")
    assert f"(process {os.getpid()})" in section.facts[str(port)]


def test_a_port_that_a_connection_has_is_not_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        section = examine_ports([connection.getsockname()[1]])

    assert [finding.level for finding in section.findings] == ["ok"]


def test_a_port_that_was_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    section = examine_ports([port])

    assert [finding.level for finding in section.findings] == ["ok"]


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "0::/", (None, None)),
        ({"cpu.max": "max 100000", "memory.max": "max"}, "0::/", (None, None)),
        ({"cpu.max": "150000 100000", "memory.max": "268435456"}, "0::/", (1.5, 2**28)),
        ({"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", (0.5, None)),
        ({"memory.max": "512"}, "0::/../outside", (None, 512)),
        (
            {
                "cpu/a/cpu.cfs_quota_us": "200000",
                "cpu/a/cpu.cfs_period_us": "100000",
                "memory/a/memory.limit_in_bytes": "1024",
            },
            "4:memory:/a\n1:cpu,cpuacct:/a\n0::/",
            (2.0, 1024),
        ),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096)}, "4:memory:/", (None, None)),
        (
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            "1:cpu:/",
            (None, None),
        ),
    ],
)
def test_limits_are_those_of_a_group_and_of_all_above_it(
    tmp_path: Path,
    files: dict[str, str],
    membership: str,
    expected: tuple[float | None, int | None],
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert cgroup_limits(tmp_path, membership) == expected
