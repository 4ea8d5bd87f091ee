"""Machines for tests: network namespaces on one switch, whose cables can be pulled and slowed.

Needs root and iproute2. Delay and loss are not here: the kernels this runs on have no netem.

Source: ip-netns(8), tc-tbf(8).
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence

import pytest

NETWORK = "10.77.0"
SWITCH = "switch"


class Machines:
    """So many machines, 10.77.0.1 first, each with one cable to the switch."""

    def __init__(self, count: int) -> None:
        self._mark = secrets.token_hex(3)
        self._made: list[str] = []
        self._make(SWITCH)
        self._run(SWITCH, "ip link add br0 type bridge")
        self._run(SWITCH, "ip link set br0 up")
        for number in range(1, count + 1):
            self._plug(number)

    @staticmethod
    def address(number: int) -> str:
        return f"{NETWORK}.{number}"

    def on(self, number: int) -> Sequence[str]:
        """Give what begins a command that is to run on a machine."""
        return ("ip", "netns", "exec", self._name(str(number)))

    def pull(self, number: int) -> None:
        """Pull a machine's cable: its own end sees that."""
        self._run(SWITCH, f"ip link set port{number} down")

    def lose(self, number: int) -> None:
        """Have the switch forward nothing of one cable, and nobody see that."""
        self._run(SWITCH, f"ip link set port{number} nomaster")

    def slow(self, number: int, kbit_per_s: int) -> None:
        """Let so much through a machine's cable, each way."""
        shape = f"root tbf rate {kbit_per_s}kbit burst 4kb latency 5s"
        self._run(SWITCH, f"tc qdisc replace dev port{number} {shape}")
        self._run(str(number), f"tc qdisc replace dev eth0 {shape}")

    def mend(self, number: int) -> None:
        """Make a machine's cable as good as new."""
        self._run(SWITCH, f"ip link set port{number} up")
        self._run(SWITCH, f"ip link set port{number} master br0")
        for where, device in ((SWITCH, f"port{number}"), (str(number), "eth0")):
            shaped = self._run(where, f"tc qdisc show dev {device}")
            if "tbf" in shaped:
                self._run(where, f"tc qdisc del dev {device} root")

    def close(self) -> None:
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def _plug(self, number: int) -> None:
        name = str(number)
        self._make(name)
        self._run(SWITCH, f"ip link add port{number} type veth peer eth0 netns {self._name(name)}")
        self._run(SWITCH, f"ip link set port{number} up master br0")
        self._run(name, f"ip address add {self.address(number)}/24 dev eth0")
        self._run(name, "ip link set eth0 up")
        self._run(name, "ip link set lo up")

    def _name(self, name: str) -> str:
        return f"gradflock-{self._mark}-{name}"

    def _make(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", self._name(name)], check=True)
        self._made.append(self._name(name))

    def _run(self, name: str, command: str) -> str:
        said = subprocess.run(
            ["ip", "netns", "exec", self._name(name), *command.split()],
            check=True,
            capture_output=True,
            text=True,
        )
        return said.stdout


def machines(count: int) -> Iterator[Machines]:
    """Give machines, and remove them; where none can be made the test is skipped, but not in CI."""
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    reason = f"network namespaces need {' and '.join(missing)}: apt install iproute2"
    if not missing and os.geteuid() != 0:
        missing, reason = ["root"], "network namespaces need root"
    if missing:
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    made = Machines(count)
    try:
        yield made
    finally:
        made.close()
