"""Which addresses are taken, and which of them only this machine can reach."""

import pytest

from wire.address import check_address, check_target, is_loopback
from wire.errors import TransportError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:5555",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65535",
        "tcp://0.0.0.0:5555",
        "tcp://*:5555",
        "tcp://127.0.0.1:*",
        "tcp://coordinator:5555",
        "tcp://my-host.example.org:1",
        "tcp://[::1]:5555",
    ],
)
def test_an_address_with_host_and_port_is_given_back(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "5555",
        "127.0.0.1:5555",
        "localhost",
        "tcp://",
        "tcp://:5555",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:123456",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:http",
        "tcp://127.0.0.1:5555/",
        "tcp://127.0.0.1:5555\n",
        " tcp://127.0.0.1:5555",
        "tcp://two words:5555",
        "tcp://::1:5555",
        "tcp://[::1:5555",
        "tcp://[names]:5555",
        "TCP://127.0.0.1:5555",
        "udp://127.0.0.1:5555",
        "ipc:///tmp/socket",
        "inproc://name",
        "http://127.0.0.1:5555",
    ],
)
def test_anything_else_is_refused_and_shown(address: str) -> None:
    with pytest.raises(TransportError) as refusal:
        check_address(address)

    assert f"got {address!r}" in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://127.8.9.10:1", "tcp://localhost:1", "tcp://[::1]:1"],
)
def test_only_this_machine_reaches_a_loopback_address(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://0.0.0.0:1",
        "tcp://*:1",
        "tcp://192.168.1.1:1",
        "tcp://[::]:1",
        "tcp://coordinator:1",
        "tcp://localhost.example.org:1",
        "tcp://127.0.0.1.example.org:1",
        "tcp://1.127.0.0:1",
    ],
)
def test_others_reach_every_other_address(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://coordinator:1", "tcp://[::1]:1"]
)
def test_one_connects_to_a_host_and_a_port(address: str) -> None:
    assert check_target(address) == address


@pytest.mark.parametrize(
    "address", ["tcp://*:5555", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://h:00", "localhost"]
)
def test_one_does_not_connect_to_any_host_or_port(address: str) -> None:
    with pytest.raises(TransportError) as refusal:
        check_target(address)

    assert f"got {address!r}" in str(refusal.value)
