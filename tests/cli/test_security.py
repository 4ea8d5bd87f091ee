"""Which sockets may be plain, and what is asked for where they may not."""

from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.security import Keys, check_http, check_security, client_key_of, doorkeeper_of

pytestmark = pytest.mark.unit

OPEN = "tcp://0.0.0.0:5555"


@pytest.mark.parametrize("insecure", [False, True])
def test_loopback_may_be_plain_without_a_word(insecure: bool) -> None:
    said: list[str] = []

    check_security("tcp://127.0.0.1:5555", insecure, said.append)

    assert said == []


def test_another_address_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"not encrypted; add --insecure"):
        check_security(OPEN, False, print)


def test_where_keys_could_be_they_are_named_first() -> None:
    with pytest.raises(UsageError, match=r"give --key \(see gradflock keys new\), or add --insec"):
        check_security(OPEN, False, print, Keys("--key", None))


def test_an_address_that_others_reach_is_warned_of_once() -> None:
    said: list[str] = []

    check_security(OPEN, True, said.append)

    (line,) = said
    assert line.startswith("warning: tcp://0.0.0.0:5555 is plain")


def test_with_keys_any_address_is_fine_without_a_word() -> None:
    said: list[str] = []

    check_security(OPEN, False, said.append, Keys("--keys", Path("keys")))

    assert said == []


@pytest.mark.parametrize("address", [OPEN, "tcp://127.0.0.1:5555"])
def test_keys_and_plainness_contradict_each_other(address: str) -> None:
    with pytest.raises(UsageError, match="expected --keys or --insecure, got both"):
        check_security(address, True, print, Keys("--keys", Path("keys")))


def test_http_has_no_keys_to_give() -> None:
    with pytest.raises(UsageError, match=r"not encrypted; add --insecure"):
        check_http("0.0.0.0:8000", False, print)


def test_without_keys_there_is_nobody_at_the_door() -> None:
    assert doorkeeper_of("tcp://127.0.0.1:5555", None, False, print) is None
    assert client_key_of(None) is None
