"""The command as people type it: results on stdout, one line per error, and the exit code."""

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cli.main import main
from coordinator.run_directory import RunDirectory
from tests.cli.runs import FLAGS, data_file, plan_of, save

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _signals_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No command of these may see another's signals, variables or runs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name in ("CONFIG", "RUN_DIR", "SEED", "CONNECT", "INSECURE", "KEY", "KEYS"):
        monkeypatch.delenv(f"GRADFLOCK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    """A run with a checkpoint after three steps."""
    save(tmp_path, plan_of(tmp_path, **FLAGS)[0], step=3)
    return str(tmp_path / "run")


def ended(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as ending:
        main(list(arguments))
    assert isinstance(ending.value.code, int)
    return ending.value.code


# ---- sample -------------------------------------------------------------------------------------


def test_names_are_printed_a_line_each(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = ended(["sample", "--run-dir", run_dir, "-n", "5", "--seed", "1"])

    captured = capsys.readouterr()
    assert code == 0
    assert len(captured.out.split("\n")) == 6
    assert captured.err == ""


def test_the_same_seed_prints_the_same_names(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sample", "--run-dir", run_dir, "-n", "20", "--temperature", "2", "--seed"]

    outputs = []
    for seed in ("1", "1", "2"):
        ended([*arguments, seed])
        outputs.append(capsys.readouterr().out)

    assert outputs[0] == outputs[1] != outputs[2]


def test_a_json_object_names_step_weights_and_seed(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(["sample", "--run-dir", run_dir, "--seed", "7", "--prompt", "ab", "--json"])

    values = json.loads(capsys.readouterr().out)
    assert (values["step"], values["seed"]) == (3, 7)
    assert values["sha256"] == RunDirectory(Path(run_dir)).checkpoints.load(3).weights_sha256
    assert values["samples"][0].startswith("ab")


def test_the_generator_of_the_run_has_no_seed(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(["sample", "--run-dir", run_dir, "--rng", "microgpt", "--json"])

    assert json.loads(capsys.readouterr().out)["seed"] is None


# ---- what is typed wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sample"], "expected a run under ./runs, got none"),
        (["sample", "--run-dir", "none"], "expected a run with a checkpoint, got none"),
        (["sample", "-n", "0"], "expected n from 1 to 1000, got 0"),
        (["sample", "--temperature", "-1"], "expected a temperature of 0, or from 0.001"),
        (["sample", "--seed", "-1"], "expected seed from 0"),
        (["sample", "--seed", "1", "--rng", "microgpt"], "expected a seed or rng microgpt"),
        (["sample", "--connect", "x", "--run-dir", "y"], "expected --connect or --run-dir"),
        (["sample", "--connect", "localhost"], "expected an address like tcp://127.0.0.1:5555"),
        (["coordinator"], "give --run-dir"),
        (["coordinator", "--run-dir", "r", "--bind", "5555"], "expected an address like"),
        (["coordinator", "--checkpoint-every", "5m"], "expected steps like 100"),
        (["coordinator", "--run-dir", "typo", "--resume"], "expected a valid checkpoint to resume"),
        (["worker"], "Missing option '--connect'"),
        (["worker", "--connect", "tcp://10.0.0.1:1", "--max-idle", "0"], "add --insecure"),
        (["worker", "--connect", "tcp://*:5555"], "expected a host and a port to connect to"),
        (["worker", "--connect", "tcp://127.0.0.1:1", "--max-idle", "nan"], "--max-idle"),
        (["worker", "--connect", "tcp://127.0.0.1:1", "--max-idle", "-1"], "--max-idle"),
        (["worker", "--connect", "tcp://127.0.0.1:1", "--name", "x" * 65], "--name"),
        (["worker", "--connect", "tcp://127.0.0.1:1", "--name", "a b"], "--name"),
        (["train", "--workers", "0"], "expected auto or 1 to 256 workers, got '0'"),
        (["train", "--workers", "257"], "got '257'"),
        (["train", "--workers", "two"], "got 'two'"),
        (
            ["train", "--temperature", "nan"],
            "expected a temperature of 0, or from 0.001 to 100, got nan",
        ),
        (["train", "--resume"], "expected --run-dir with --resume"),
        (["train", "--data", "no-such-file"], "expected a file of documents, got 'no-such-file'"),
        (["train", "--sampler-bind", "tcp://0.0.0.0:1", "--data", "none"], "add --insecure"),
        (["coordinator", "--run-dir", "r", "--bind", "tcp://0.0.0.0:1"], "give --keys"),
        (["coordinator", "--run-dir", "r", "--keys", "none"], "expected server.key, got none"),
        (["worker", "--connect", "tcp://10.0.0.1:1"], "give --key (see gradflock keys new)"),
        (["worker", "--connect", "tcp://10.0.0.1:1", "--key", "no.key"], "expected a key file"),
        (["sample", "--connect", "tcp://10.0.0.1:1", "--key", "no.key"], "expected a key file"),
        (["serve", "--run-dir", "r", "--keys", "none"], "expected server.key, got none"),
        (["serve", "--run-dir", "r", "--api-key", ""], "expected an API key"),
        (["keys", "new", "../up"], "expected a name of 1 to 48"),
        (["keys", "revoke", "desk"], "gradflock keys new NAME --keys keys"),
        (["train", "--preset", "huge"], "'huge' is not one of"),
        (["train", "--steps", "many"], "'many' is not a valid integer"),
        (["train", "--no-such-flag"], "No such option"),
        (["bench"], "Missing argument"),
        (["bench", "sing"], "'sing' is not one of"),
        (["sing"], "No such command"),
    ],
    ids=" ".join,
)
def test_what_is_typed_wrong_ends_with_two_and_says_what_to_do(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(arguments)

    captured = capsys.readouterr()
    assert code == 2
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_an_error_of_ours_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ended(["sample", "--run-dir", "none"])

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gradflock: expected a run with a checkpoint")


def test_a_prompt_that_the_model_has_never_seen_is_refused(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(["sample", "--run-dir", run_dir, "--prompt", "xyz"])

    assert code == 2
    assert "expected characters of 'ab', got 'x'" in capsys.readouterr().err


def test_what_goes_wrong_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_file(tmp_path, "\n")

    code = ended(["train", "--data", data, "--run-dir", "new"])

    assert code == 1
    assert "got an empty file" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_superscript_is_no_number_of_workers() -> None:
    assert ended(["train", "--workers", "²"]) == 2


# ---- help and version ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["train", "--help"], ["--version"]])
def test_help_and_version_are_results(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(arguments)

    assert code == 0
    assert "gradflock" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train"], "--checkpoint-every N|SECONDSs "),
        (["train"], "bare `--resume` is `always`"),
        (["coordinator"], "and resume on a machine that does"),
        (["coordinator"], "of a new run; names by default"),
        (["checkpoint"], "by default the newest under ./runs"),
    ],
)
def test_help_says_what_flags_take_and_what_holds_without_them(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended([*arguments, "--help"])

    assert expected in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_resumed_leaves_no_directory_behind(tmp_path: Path) -> None:
    """Commands that take the newest run by default would take it for one."""
    assert ended(["coordinator", "--run-dir", "runs/typo", "--resume"]) == 2

    assert not (tmp_path / "runs").exists()


def test_a_coordinator_that_another_program_reads_tells_of_damage_as_it_tells_facts(
    run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in Path(run_dir).glob("checkpoints/*.safetensors"):
        path.write_bytes(b"spoilt")
    command = ["coordinator", "--run-dir", run_dir, "--bind", "tcp://127.0.0.1:0"]

    ended([*command, "--resume", "--log-format", "json"])

    line, refusal = capsys.readouterr().err.splitlines()
    assert json.loads(line)["say"].startswith("passed over a checkpoint: expected ")
    assert refusal.startswith("gradflock: expected a valid checkpoint")


# ---- flag > variable > file > default -----------------------------------------------------------


def step_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Sample, and say which step the run was at that was sampled."""
    assert ended([*arguments]) == 0
    step = json.loads(capsys.readouterr().out)["step"]
    assert isinstance(step, int)
    return step


def runs_at_steps(path: Path, *steps: int) -> list[str]:
    """Run directories that can be told apart by the step they are at."""
    for step in steps:
        (path / f"{step}").mkdir()
        save(path / f"{step}", plan_of(path / f"{step}", **FLAGS)[0], step)
    return [str(path / f"{step}" / "run") for step in steps]


def test_a_flag_wins_over_a_variable_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_file, in_variable, in_flag = runs_at_steps(tmp_path, 1, 2, 3)
    (tmp_path / "c.toml").write_text(f"run-dir = {in_file!r}\n")
    command = ["--config", "c.toml", "sample", "--json"]

    from_file = step_of(command, capsys)
    monkeypatch.setenv("GRADFLOCK_RUN_DIR", in_variable)
    from_variable = step_of(command, capsys)
    from_flag = step_of([*command, "--run-dir", in_flag], capsys)

    assert (from_file, from_variable, from_flag) == (1, 2, 3)


def test_the_table_of_a_command_wins_over_what_is_said_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for_all, for_sample, for_train = runs_at_steps(tmp_path, 1, 2, 3)
    (tmp_path / "c.toml").write_text(
        f"run-dir = {for_all!r}\n[sample]\nrun-dir = {for_sample!r}\n"
        f"[train]\nrun-dir = {for_train!r}\n"
    )

    assert step_of(["--config", "c.toml", "sample", "--json"], capsys) == 2


def test_without_any_of_them_the_default_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default the newest under ./runs is sampled."""
    (tmp_path / "runs" / "one").mkdir(parents=True)
    save(tmp_path / "runs" / "one", plan_of(tmp_path / "runs" / "one", **FLAGS)[0], 5)
    (tmp_path / "runs" / "one" / "run").rename(tmp_path / "runs" / "two")

    assert step_of(["sample", "--json"], capsys) == 5


def test_a_file_may_write_a_flag_with_dashes_or_underscores(
    run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run-dir", "run_dir"):
        (tmp_path / "c.toml").write_text(f"{name} = {run_dir!r}\n")

        assert ended(["--config", "c.toml", "sample"]) == 0


def test_the_file_may_be_named_by_a_variable(
    run_dir: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "c.toml").write_text(f"run-dir = {run_dir!r}\n")
    monkeypatch.setenv("GRADFLOCK_CONFIG", "c.toml")

    assert step_of(["sample", "--json"], capsys) == 3


def test_keys_is_a_flag_in_a_file_although_it_is_a_command_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text('keys = "none"\n')

    assert ended(["--config", "c.toml", "coordinator", "--run-dir", "r"]) == 2
    assert "expected server.key, got none — none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stepz = 5\n", "expected a flag and its value, got stepz = 5"),
        ("[train]\nstepz = 5\n", "expected a flag and its value, got stepz = 5"),
        ("[serve]\nsteps = 5\n", "expected a flag and its value, got steps = 5"),
        ("[bake]\nsteps = 5\n", "expected a flag and its value, got bake = "),
        ("steps = [5]\n", "expected a flag and its value, got steps = [5]"),
        ("train = 5\n", "expected a table [train], got 5"),
        ("[keys]\nsteps = 5\n", "expected a flag and its value, got steps = 5"),
        ("steps 5\n", "expected a TOML file"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused_and_named(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(text)

    code = ended(["--config", "c.toml", "sample"])

    error = capsys.readouterr().err
    assert code == 2
    assert expected in error
    assert "c.toml" in error


def test_a_value_of_another_kind_in_the_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text('steps = "many"\n')

    assert ended(["--config", "c.toml", "train"]) == 2
    assert "'many' is not a valid integer" in capsys.readouterr().err


def test_half_a_step_in_the_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text('steps = 2.5\ndata = "no-such-file"\n')

    ended(["--config", "c.toml", "train"])

    assert "2.5" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--config", "none.toml", "sample"]) == 2
    assert "none.toml" in capsys.readouterr().err
