"""The project's compose files on a real Docker engine, under a name and ports of their own."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.flock import ROOT, free_address, wait_until

COMPOSE_S = 300.0  # for one command of compose; the first builds the image
IMAGE = "gradflock:0.1.0"
RUN_DIR = "/runs/compose"


def compose_command() -> list[str]:
    """Give what this machine calls Compose: the plugin, or the command before it."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    return ["docker", "compose"]


def docker(*arguments: str) -> str:
    """Run a command of Docker and give what it prints."""
    said = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=COMPOSE_S)
    assert said.returncode == 0, said.stderr
    return said.stdout


def free_port() -> str:
    return free_address().rpartition(":")[2]


class Stack:
    """One project of compose.

    Attributes:
        name: of the project; containers, networks and volumes begin with it.
        http: where the sampler's HTTP door is published.
    """

    def __init__(self, *files: str, **environment: str) -> None:
        """Name it; nothing runs yet.

        Args:
            files: compose files, in the order in which they are laid over each other.
        """
        self.name = f"gradflock{secrets.token_hex(4)}"
        ports = {"GRADFLOCK_SAMPLER_PORT": free_port(), "GRADFLOCK_HTTP_PORT": free_port()}
        self.http = f"http://127.0.0.1:{ports['GRADFLOCK_HTTP_PORT']}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADFLOCK_")}
        self._environment = {**inherited, **ports, **environment}
        self._command = [*compose_command(), *(f"--file={ROOT / file}" for file in files)]

    def compose(self, *arguments: str, stdout: Any = subprocess.PIPE) -> str:
        """Run a command of Compose and give what it prints."""
        said = subprocess.run(
            [*self._command, "--project-name", self.name, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=COMPOSE_S,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout or ""

    def up(self, workers: int) -> None:
        self.compose("up", "-d", "--scale", f"worker={workers}")

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "5")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Give what Docker knows of each container of a service, or of all; also of those that
        have ended."""
        labels = [f"label=com.docker.compose.project={self.name}"]
        if service:
            labels.append(f"label=com.docker.compose.service={service}")
        ids = docker("ps", "-aq", *(f"--filter={label}" for label in labels)).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return found

    def run_in(self, service: str, *command: str) -> str:
        return self.compose("exec", "-T", service, *command)

    def python_in(self, service: str, source: str) -> Any:
        """Run Python in a container and give what it prints, as JSON."""
        return json.loads(self.run_in(service, "python", "-c", source))

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-color", service)

    def status(self) -> dict[str, Any]:
        """Give how the run stands; empty while no coordinator answers."""
        try:
            said = self.run_in(
                "coordinator", "gradflock", "status", "--json", f"--run-dir={RUN_DIR}"
            )
        except AssertionError:
            return {}
        values: dict[str, Any] = json.loads(said)
        return values

    def wait_for_step(self, step: int, within_s: float = 120.0) -> dict[str, Any]:
        def reached() -> dict[str, Any]:
            status = self.status()
            return status if status.get("step", -1) >= step else {}

        return wait_until(f"step {step}", reached, within_s, look_s=0.2)

    def wait_for_workers(self, count: int) -> dict[str, Any]:
        def joined() -> dict[str, Any]:
            status = self.status()
            return status if status.get("world_size") == count else {}

        return wait_until(f"{count} workers", joined, look_s=0.2)


def key_file(path: Path, text: str) -> Path:
    """Write a key as `> desk.key` under a umask of 077 does."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def volumes_of(container: dict[str, Any]) -> dict[str, bool]:
    """Give where a container has volumes and files of the host, and whether it can write there."""
    return {mount["Destination"]: mount["RW"] for mount in container["Mounts"]}


def published(containers: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Give what is published: service -> (address of the host, port in the container)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for container in containers:
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        for port, bindings in (container["NetworkSettings"]["Ports"] or {}).items():
            found.setdefault(service, []).extend((one["HostIp"], port) for one in bindings or [])
    return {service: sorted(ports) for service, ports in found.items()}
