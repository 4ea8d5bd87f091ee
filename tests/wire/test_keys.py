"""Key files as text, and what an allowlist says of a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import KeysError
from wire.keys import KEY_FORM, NAME_FORM, Allowlist, ClientKey, ServerKey

pytestmark = pytest.mark.unit

A, B, C = ("0123456789" * 4, "abcdefghij" * 4, ".-:+=^!/*?&<>()[]{}@%$#" + "k" * 17)


@given(st.from_regex(NAME_FORM, fullmatch=True), *[st.from_regex(KEY_FORM, fullmatch=True)] * 3)
def test_every_key_file_comes_back_as_it_was_written(
    name: str, public: str, server: str, secret: str
) -> None:
    for key in (ServerKey(public, secret), ClientKey(name, public, server, secret)):
        assert type(key).from_toml(key.to_toml(), "here") == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "name = 3",
        f'name = "../up"\npublic = "{A}"\nserver = "{B}"\nsecret = "{C}"',
        f'name = "desk"\npublic = "{A}"\nserver = "{B}"\nsecret = "{C[:-1]}"',
        f'name = "desk"\npublic = "{A}"\nsecret = "{C}"',
        f'name = ["desk"]\npublic = "{A}"\nserver = "{B}"\nsecret = "{C}"',
    ],
)
def test_what_is_no_key_file_is_refused_and_its_secret_not_repeated(text: str) -> None:
    with pytest.raises(KeysError, match=r"^expected a key file with .* — desk\.key") as raised:
        ClientKey.from_toml(text, "desk.key")

    assert C[:20] not in str(raised.value)


def test_a_secret_is_not_shown_where_a_key_is_printed() -> None:
    assert C not in repr(ServerKey(A, C)) + repr(ClientKey("desk", A, B, C))


def test_an_allowlist_objects_to_all_keys_but_those_that_are_allowed() -> None:
    allowlist = Allowlist({A: "desk"}, {B: "laptop"})

    assert allowlist.objection(A) == ""
    assert allowlist.objection(B) == "has a key that was revoked, 'laptop'"
    assert allowlist.objection(C) == f"has a key that is not in the allowlist, {C}"
    assert [allowlist.name_of(key) for key in (A, B, C)] == ["desk", "laptop", C]


def test_a_key_that_is_both_allowed_and_revoked_is_revoked() -> None:
    assert Allowlist({A: "desk"}, {A: "desk"}).objection(A)
