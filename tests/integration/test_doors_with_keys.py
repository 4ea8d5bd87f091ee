"""The sampler's doors with keys: on the socket whoever is listed, on HTTP whoever has a token."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.flock import Lab, Process, Train, wait_until
from tests.integration.oracle import Job
from tests.integration.test_http_door import http_of, serve

pytestmark = pytest.mark.integration

JOB = Job(steps=4)
TOKEN = "sk-first"


@pytest.fixture(scope="module")
def finished(shared_lab: Lab) -> Train:
    train = shared_lab.train(JOB, "--workers=1")
    train.summary()
    return train


@pytest.fixture(scope="module")
def keys(shared_lab: Lab) -> Path:
    directory = shared_lab.directory / "keys"
    for name in ("alice", "bob"):
        assert shared_lab.run("keys", "new", name, f"--keys={directory}").exit_code() == 0
    return directory


@pytest.fixture(scope="module")
def sampler(shared_lab: Lab, finished: Train, keys: Path) -> Iterator[Process]:
    sampler = serve(shared_lab, finished, f"--keys={keys}", f"--api-key={TOKEN}")
    sampler.wait_until_it_says("serving step 4")
    yield sampler
    assert sampler.is_running, sampler.stderr
    assert "Traceback" not in sampler.stderr


def socket_of(sampler: Process) -> str:
    return sampler.wait_until_it_says("sampler at ").split()[2].rstrip(",")


# ---- the socket ---------------------------------------------------------------------------------


def test_whoever_is_listed_is_drawn_for(shared_lab: Lab, sampler: Process, keys: Path) -> None:
    connect = f"--connect={socket_of(sampler)}"

    drawn = shared_lab.run("sample", connect, f"--key={keys / 'alice.key'}", "-n3", "--json")

    assert drawn.exit_code() == 0, drawn.stderr
    values = json.loads(drawn.stdout)
    assert len(values["samples"]) == 3
    assert values["sha256"] == JOB.expected().weights_sha256


def test_without_a_key_the_way_to_one_is_said(shared_lab: Lab, sampler: Process) -> None:
    drawn = shared_lab.run("sample", f"--connect={socket_of(sampler)}")

    assert drawn.exit_code() == 1
    assert "want CURVE keys" in drawn.stderr or "wants CURVE keys" in drawn.stderr
    sampler.wait_until_it_says("CURVE keys")


def test_a_run_of_this_machine_is_drawn_from_without_the_key_of_its_sampler(
    shared_lab: Lab, sampler: Process, finished: Train
) -> None:
    """Who can read the directory needs nobody's leave."""
    drawn = shared_lab.run("sample", f"--run-dir={finished.run_dir}", "-n2")

    assert drawn.exit_code() == 0, drawn.stderr
    assert len(drawn.stdout.splitlines()) == 2


def test_a_revoked_key_draws_no_more(shared_lab: Lab, sampler: Process, keys: Path) -> None:
    key = f"--key={keys / 'bob.key'}"
    connect = f"--connect={socket_of(sampler)}"
    assert shared_lab.run("sample", connect, key).exit_code() == 0
    assert shared_lab.run("keys", "revoke", "bob", f"--keys={keys}").exit_code() == 0

    def refused() -> str:
        drawn = shared_lab.run("sample", connect, key)
        return drawn.stderr if drawn.exit_code() else ""

    assert "refused this key" in wait_until("the revocation to count", refused)
    sampler.wait_until_it_says("has a key that was revoked, 'bob'")


# ---- HTTP ---------------------------------------------------------------------------------------


def test_the_client_completes_with_a_token(sampler: Process) -> None:
    with openai.OpenAI(base_url=f"{http_of(sampler)}/v1", api_key=TOKEN) as client:
        reply = client.completions.create(model="documents", prompt="", n=2)

    assert len(reply.choices) == 2


@pytest.mark.parametrize("token", ["sk-wrong", TOKEN[:-1], f"{TOKEN}x"])
def test_the_client_is_told_that_its_token_is_wrong(sampler: Process, token: str) -> None:
    with (
        openai.OpenAI(base_url=f"{http_of(sampler)}/v1", api_key=token, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.completions.create(model="documents", prompt="")

    assert refused.value.code == "invalid_api_key"
    assert token not in str(refused.value.body)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        b"Bearer \xff\xfe",
        b"Bearer sk-f\xc3\xafrst",
    ],
)
def test_without_a_token_nothing_of_the_model_is_told(
    sampler: Process, header: str | bytes | None
) -> None:
    url = http_of(sampler)
    headers = {} if header is None else {"Authorization": header}

    for method, path in [
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/documents"),
        ("GET", "/v1//models"),
        ("GET", "/v1/none"),
        ("GET", "/none"),
    ]:
        reply = httpx.request(method, url + path, headers=headers)  # type: ignore[arg-type]
        assert (path, reply.status_code) == (path, 401)
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert reply.json()["error"]["code"] == "invalid_api_key"


def test_the_scheme_may_be_written_in_any_case(sampler: Process) -> None:
    reply = httpx.get(
        f"{http_of(sampler)}/v1/models", headers={"authorization": f"bearer  {TOKEN}"}
    )

    assert reply.status_code == 200


def test_what_operators_and_the_page_need_is_open(sampler: Process) -> None:
    for path in ("/", "/health", "/healthz", "/readyz", "/version", "/metrics", "/openapi.json"):
        assert httpx.get(http_of(sampler) + path).status_code == 200, path


def test_the_description_says_that_a_token_is_wanted(sampler: Process) -> None:
    described = httpx.get(f"{http_of(sampler)}/openapi.json").json()

    scheme = described["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == path.startswith("/v1/")


def test_those_turned_away_are_counted(sampler: Process) -> None:
    url = http_of(sampler)
    httpx.get(f"{url}/v1/models")

    metrics = httpx.get(f"{url}/metrics").text
    assert 'gradflock_sampler_requests_total{code="401",door="http"}' in metrics


def test_a_token_from_the_environment_counts(lab: Lab) -> None:
    """It is in no list of processes there."""
    train = lab.train(JOB, "--workers=1")
    train.summary()
    flags = (f"--run-dir={train.run_dir}", "--bind=tcp://127.0.0.1:0")
    sampler = lab.start("serve", *flags, GRADFLOCK_API_KEY=TOKEN)
    sampler.wait_until_it_says("serving step 4")
    url = f"{http_of(sampler)}/v1/models"

    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("value", ["", "  ", "correct horse", " padded", "schlüssel", "a\tb"])
@pytest.mark.parametrize("command", ["serve", "train"])
def test_a_token_that_cannot_be_one_opens_no_door(lab: Lab, value: str, command: str) -> None:
    """Above all an empty one: `$(cat missing)` must not mean that nobody is asked."""
    refused = lab.run(command, "--run-dir=none", GRADFLOCK_API_KEY=value)

    assert refused.exit_code() == 2
    assert "expected an API key of 1 to 512 ASCII characters without spaces" in refused.errors[-1]
    assert not value.strip() or value not in refused.stderr


def test_a_door_that_stays_open_beside_one_with_keys_is_told_of(lab: Lab, keys: Path) -> None:
    run_dir = lab.directory / "run"
    flags = (f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0")
    keyed = lab.start("serve", *flags, f"--keys={keys}")
    tokened = lab.start("serve", *flags, f"--api-key={TOKEN}")

    keyed.wait_until_it_says("HTTP asks for no key")
    tokened.wait_until_it_says("the socket asks for no key")


def test_train_is_plain_on_loopback_whatever_the_environment_says_of_keys(lab: Lab) -> None:
    """Its roles are its own: keys that somebody has set for other commands are not theirs."""
    lab.environment |= {
        "GRADFLOCK_KEYS": "no-such-directory",
        "GRADFLOCK_KEY": "no-such-file",
        "GRADFLOCK_HEALTH_FILE": str(lab.directory / "health"),
    }

    summary = lab.train(JOB, "--workers=2").summary()

    assert summary["weights_sha256"] == JOB.expected().weights_sha256
    assert not (lab.directory / "health").exists()
