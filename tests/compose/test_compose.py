"""`docker compose up` as people type it, on a real engine: the same bits through every kill.

Needs a Docker engine with Compose; `make test-compose` says so where there is none.
"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.stack import (
    IMAGE,
    Stack,
    docker,
    free_port,
    key_file,
    published,
    volumes_of,
)
from tests.integration.flock import wait_until

pytestmark = pytest.mark.compose

STEPS = 60_000
SERVICES = ("coordinator", "worker", "sampler")
LOOK_INSIDE = """
import json, os, pathlib, shutil
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def can_write(directory):
    try:
        path = pathlib.Path(directory, "probe")
        path.write_text("")
        path.unlink()
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "writable": [d for d in ("/", "/opt/venv", "/usr", "/etc", "/tmp", "/runs") if can_write(d)],
    "installers": [n for n in ("pip", "pip3", "cc", "gcc", "make", "apt-get") if shutil.which(n)],
    "secrets": [str(p) for d in ("/keys", "/worker") for p in pathlib.Path(d).rglob("*.key")],
}))
"""


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    Stack("docker-compose.yml").compose("build", "coordinator")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A run with three workers; those before it in this file have not yet let it end."""
    stack = Stack("docker-compose.yml", GRADFLOCK_STEPS=str(STEPS))
    try:
        stack.up(workers=3)
        stack.wait_for_workers(3)
        yield stack
    finally:
        stack.down()


def sampled(stack: Stack) -> dict[str, Any]:
    """Ask the sampler on the host's port, as README's curl does; empty if it is not there yet."""
    try:
        reply = httpx.post(f"{stack.http}/v1/completions", json={"n": 3, "seed": 7}, timeout=5)
    except httpx.TransportError:
        return {}
    values: dict[str, Any] = reply.json() if reply.status_code == 200 else {}
    return values


def uninterrupted(stack: Stack) -> str:
    """Train as many steps in one container, with the dataset of the stack; give the sha256."""
    said = docker(
        *("run", "--rm", "--read-only", "--tmpfs=/tmp", f"--volume={stack.name}_cache:/cache:ro"),
        *("--env=GRADFLOCK_CACHE_DIR=/cache", IMAGE, "train", "--json", "--workers=1"),
        *(f"--steps={STEPS}", "--run-dir=/tmp/run", "--http=off"),
    )
    return str(json.loads(said)["weights_sha256"])


# ---- what runs, and as whom ----------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_no_more_than_it_needs(stack: Stack, service: str) -> None:
    inside = stack.python_in(service, LOOK_INSIDE)

    assert (inside["uid"], inside["gid"]) == (10001, 10001)
    assert 0 not in inside["groups"]
    assert inside["capabilities"] == [0, 0, 0]
    assert inside["no_new_privileges"] == "1"
    assert set(inside["writable"]) == {"/tmp"} | ({"/runs"} if service == "coordinator" else set())
    assert set(inside["installers"]) <= {"apt-get"}  # without root it installs nothing
    assert (
        inside["secrets"]
        == {
            "coordinator": ["/keys/server.key"],
            "worker": ["/worker/worker.key"],
            "sampler": [],
        }[service]
    )


def test_only_the_samplers_ports_are_published_and_on_loopback_alone(stack: Stack) -> None:
    loopback = "127.0.0.1"

    assert published(stack.containers()) == {
        "sampler": [(loopback, "5556/tcp"), (loopback, "8000/tcp")]
    }


def test_workers_reach_the_coordinator_and_nobody_else(stack: Stack) -> None:
    (training,) = json.loads(docker("network", "inspect", f"{stack.name}_training"))
    networks = {
        service: {
            name.removeprefix(f"{stack.name}_")
            for name in stack.containers(service)[0]["NetworkSettings"]["Networks"]
        }
        for service in (*SERVICES, "keys")
    }

    assert training["Internal"]
    assert networks == {
        "coordinator": {"training", "outer"},
        "worker": {"training"},
        "sampler": {"public"},
        "keys": {"none"},
    }


def test_every_container_is_bounded(stack: Stack) -> None:
    for container in stack.containers():
        host = container["HostConfig"]
        assert host["Memory"] == 512 * 1024 * 1024
        assert host["PidsLimit"] == 128
        assert host["ReadonlyRootfs"]
        assert host["Init"]
        assert host["CapDrop"] == ["ALL"]
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
        assert host["RestartPolicy"]["Name"] == "on-failure"
        assert container["Config"]["StopTimeout"] == 20
        assert "KEY=" not in str(container["Config"]["Env"]).replace("KEY=/worker/", "")


def test_the_sampler_can_change_nothing_and_a_worker_sees_its_key_alone(stack: Stack) -> None:
    mounts = {service: volumes_of(stack.containers(service)[0]) for service in SERVICES}

    assert mounts == {
        "coordinator": {"/runs": True, "/cache": True, "/keys": False},
        "worker": {"/worker": False},
        "sampler": {"/runs": False},
    }


def test_every_service_says_itself_that_it_is_well(stack: Stack) -> None:
    def healths() -> set[str]:
        containers = [one for service in SERVICES for one in stack.containers(service)]
        return {one["State"]["Health"]["Status"] for one in containers}

    wait_until("every container to be healthy", lambda: healths() == {"healthy"}, look_s=0.5)


# ---- the run -------------------------------------------------------------------------------------


def test_the_run_ends_with_the_bits_of_an_uninterrupted_one_whatever_is_killed(
    stack: Stack,
) -> None:
    """Each service is killed and started again, the number of workers changes, and nobody sees."""
    for service in SERVICES:
        before = stack.status()
        stack.compose("kill", "-s", "KILL", service)
        wait_until(
            f"{service} to be dead",
            lambda service=service: (
                not any(one["State"]["Running"] for one in stack.containers(service))
            ),
        )
        stack.up(workers=3)
        after = stack.wait_for_step(before["durable_step"] + 200)
        assert after["gen"] == before["gen"] + (service == "coordinator")
        assert after["step"] < STEPS, "the run was over before the trial was"
        assert len(wait_until("the sampler", lambda: sampled(stack))["choices"]) == 3
    for workers in (8, 2):
        stack.up(workers)
        status = stack.wait_for_workers(workers)
        assert status["step"] < STEPS, "the run was over before the trial was"
        stack.wait_for_step(status["step"] + 50)

    coordinator = "of the coordinator"
    wait_until(coordinator, lambda: "weights sha256" in stack.logs("coordinator"), 240, look_s=1)
    wait_until("all to leave", lambda: not running(stack, "coordinator", "worker"), look_s=0.5)
    sha256 = stack.logs("coordinator").rpartition("weights sha256 ")[2].split()[0]

    assert sha256 == uninterrupted(stack)
    assert {one["State"]["ExitCode"] for one in stack.containers("worker")} <= {0, 137}
    assert stack.containers("coordinator")[0]["State"]["ExitCode"] == 0

    def serves_the_end() -> bool:
        return sampled(stack)["system_fingerprint"] == f"step-{STEPS}-{sha256[:12]}"

    wait_until("the sampler to serve the end", serves_the_end)
    assert "Traceback" not in stack.compose("logs", "--no-color")


def running(stack: Stack, *services: str) -> list[str]:
    containers = [one for service in services for one in stack.containers(service)]
    return [one["Name"] for one in containers if one["State"]["Running"]]


# ---- workers of other machines -------------------------------------------------------------------


def test_a_worker_of_another_machine_joins_with_its_key_and_is_shut_out_by_name(
    tmp_path: Path,
) -> None:
    """The three commands of README; the other machine is a project that shares nothing."""
    port = free_port()
    here = Stack(
        "docker-compose.yml",
        "docker-compose.machines.yml",
        GRADFLOCK_PORT=port,
        GRADFLOCK_STEPS="1000000",
    )
    key = tmp_path / "desk.key"
    there = Stack(
        "docker-compose.worker.yml",
        GRADFLOCK_CONNECT=f"tcp://{address_of_the_host()}:{port}",
        GRADFLOCK_KEY_FILE=str(key),
        GRADFLOCK_UID="10002",
    )
    try:
        here.up(workers=0)
        key_file(key, here.compose("run", "--rm", "-T", "keys", "new", "desk", "--out", "-"))
        owned_by(key, 10002)
        there.compose("up", "-d")
        (member,) = here.wait_for_workers(1)["members"]
        assert member["name"].startswith("desk-")
        assert there.python_in("worker", LOOK_INSIDE)["writable"] == ["/tmp"]
        here.wait_for_step(100)
        assert published(here.containers())["coordinator"] == [
            ("0.0.0.0", "5555/tcp"),
            ("::", "5555/tcp"),
        ]

        began_s = time.monotonic()
        here.compose("run", "--rm", "-T", "keys", "revoke", "desk")
        here.wait_for_workers(0)
        assert time.monotonic() - began_s < 30
        wait_until("a refusal", lambda: "refused this key" in there.logs("worker"), look_s=0.5)
        assert "which was revoked" in there.logs("worker")
        assert "has a key that was revoked, 'desk'" in here.logs("coordinator")
    finally:
        there.down()
        here.down()


def address_of_the_host() -> str:
    """Give where containers find the host: their gateway."""
    routes = docker("run", "--rm", "--entrypoint=cat", IMAGE, "/proc/net/route").splitlines()
    gateway = next(line.split()[2] for line in routes if line.split()[1] == "00000000")
    return socket.inet_ntoa(bytes.fromhex(gateway)[::-1])


def owned_by(path: Path, uid: int) -> None:
    """Give a file to another user, as if it had come from there."""
    docker("run", "--rm", "--user=0", "--entrypoint=chown", f"--volume={path}:/file", IMAGE,
           str(uid), "/file")  # fmt: skip
