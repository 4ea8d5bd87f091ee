"""`gradflock explain`: what a learner types, sees, and is told when it cannot be."""

import json
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.errors import UsageError
from cli.explain import find_parameter
from cli.main import main
from coordinator.run_directory import RunDirectory
from engine.config import ModelConfig
from engine.eager import document_gradient
from engine.params import layout_of
from tests.cli.runs import FLAGS, plan_of, save

pytestmark = pytest.mark.oracle

LAYOUT = layout_of(ModelConfig(vocab_size=27, block_size=8))
TOKENS = [2, 0, 1, 1, 2]  # abb, where BOS is 2


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command of these may see another's variables or runs."""
    for name in ("CONFIG", "RUN_DIR", "SEED"):
        monkeypatch.delenv(f"GRADFLOCK_{name}", raising=False)
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    """A run with a checkpoint after three steps, block_size 4, that knows a and b.

    By its name alone: it is printed, and how long a whole path is depends on the machine.
    """
    save(tmp_path, plan_of(tmp_path, block_size=4, **FLAGS)[0], step=3)
    return "run"


def explain(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ending:
        main(["explain", *arguments])
    captured = capsys.readouterr()
    assert isinstance(ending.value.code, int)
    return ending.value.code, captured.out, captured.err


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = explain(capsys, "--json", *arguments)
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert isinstance(values, dict)
    return values


# ---- what is seen -------------------------------------------------------------------------------


def test_a_word_alone_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """The first thing a learner types, without a run and without a network."""
    code, out, err = explain(capsys, "emma")

    assert (code, err) == (0, "")
    for promise in (
        "'emma': 5 positions, loss ",
        "parameters: 4,192, fresh, as train draws them with seed 42",
        "eager            43,091 nodes",
        "vectorize",
        "Time per stage",
        "matmul  lm_head",
        'add --param "wte[26][0]"',
    ):
        assert promise in out


def test_no_line_is_wider_than_a_hundred_columns(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = explain(capsys, "abb", "--run-dir", run_dir, "--param", "layer0.attn_wv[1][0]")

    assert max(map(len, out.splitlines())) <= 100


def test_the_document_is_told_position_by_position(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = explained(capsys, "abb", "--run-dir", run_dir)

    positions = [(one["token"], one["target"]) for one in values["positions"]]
    assert positions == [("BOS", "a"), ("a", "b"), ("b", "b"), ("b", "BOS")]
    assert [one["token_id"] for one in values["positions"]] == TOKENS[:-1]
    assert values["loss"] == pytest.approx(sum(one["loss"] for one in values["positions"]) / 4)


def test_each_pass_leaves_less_than_the_one_before(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = explained(capsys, "abb", "--run-dir", run_dir)

    sizes = {one["name"]: one["size"] for one in values["passes"]}
    rewrites = ["share", "name_constants", "sink_picks", "fuse_chains"]
    assert list(sizes) == ["eager", "trace", *rewrites, "vectorize"]
    assert sorted(list(sizes.values())[1:], reverse=True) == list(sizes.values())[1:]
    for one in values["passes"]:
        assert sum(one["operations"].values()) == one["size"]


def test_the_parameters_of_a_run_are_those_of_its_newest_checkpoint(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunDirectory(Path(run_dir)).checkpoints.load(3)

    values = explained(capsys, "abb", "--run-dir", run_dir)

    eager = document_gradient(checkpoint.model, checkpoint.params, TOKENS)
    assert values["loss"] == eager.loss
    assert "after 3 steps" in values["parameters"]


def test_a_gradient_is_followed_from_the_parameter_to_the_loss(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunDirectory(Path(run_dir)).checkpoints.load(3)

    path = explained(capsys, "abb", "--run-dir", run_dir, "--param", "wte[1][0]")["path"]

    eager = document_gradient(checkpoint.model, checkpoint.params, TOKENS)
    (parameter, *_, loss) = path
    assert (parameter["node"]["detail"], parameter["num_contributions"]) == ("wte[1][0]", 2)
    assert parameter["node"]["grad"] == eager.grad[1 * checkpoint.model.n_embd]
    assert (loss["node"]["data"], loss["contributions"]) == (eager.loss, [])


def test_the_gradient_is_printed_to_its_last_digit(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunDirectory(Path(run_dir)).checkpoints.load(3)

    _, out, _ = explain(capsys, "abb", "--run-dir", run_dir, "--param", "lm_head[0][1]")

    index = find_parameter(layout_of(checkpoint.model), "lm_head[0][1]")
    grad = document_gradient(checkpoint.model, checkpoint.params, TOKENS).grad[index]
    assert f"d loss / d lm_head[0][1] = {grad!r}" in out
    assert "adds up 4 contributions:" in out


def test_the_additions_of_one_sum_are_one_line_of_the_path(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("abb", "--run-dir", run_dir, "--param", "layer0.mlp_fc2[0][0]")

    _, out, _ = explain(capsys, *arguments)
    path = explained(capsys, *arguments)["path"]

    nodes = [step["node"]["op"] for step in path]
    assert nodes[1:4] == ["mul", "add", "add"]
    assert "in a row" in out
    assert len(out.split("The largest contribution")[1].split("The vector")[0].splitlines()) < 25


def test_top_limits_what_is_listed_and_says_so(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("abb", "--run-dir", run_dir, "--param", "lm_head[0][1]", "--top", "2")

    _, out, _ = explain(capsys, *arguments)
    values = explained(capsys, *arguments)

    assert "adds up 4 contributions; the 2 largest:" in out
    contributions = values["path"][0]["contributions"]
    assert len(contributions) == 2
    assert abs(contributions[0]["value"]) >= abs(contributions[1]["value"])


def test_a_parameter_that_the_document_does_not_use_has_a_reason(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = explain(capsys, "aa", "--run-dir", run_dir, "--param", "wte[1][0]")

    assert code == 0
    assert "d loss / d wte[1][0] = 0.0" in out
    assert "its token or position does not come in this document" in out


def test_a_text_longer_than_the_model_looks_is_cut_and_that_is_said(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = explain(capsys, "abba", "--run-dir", run_dir)
    whole = explained(capsys, "abb", "--run-dir", run_dir)

    assert "cut to 4 positions (block_size), as training cuts it: the last to predict is 'a'" in out
    assert not whole["is_cut"]


def test_the_shape_of_a_fresh_model_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("--n-embd", "4", "--n-head", "2", "--n-layer", "2", "--norm", "layer")

    values = explained(capsys, "al", *shape, "--seed", "7")

    assert values["num_params"] == ModelConfig(27, n_layer=2, n_embd=4, n_head=2).num_params
    assert "seed 7" in values["parameters"]


# ---- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Missing argument 'TEXT'"),
        (("Emma",), "expected characters of 'abcdefghijklmnopqrstuvwxyz', got 'E'"),
        (("emma", "--param", "wte"), "expected a parameter like 'wte[3][5]', got 'wte'"),
        (("emma", "--param", "wte[27][0]"), "expected a row from 0 to 26"),
        (("emma", "--top", "0"), "'--top'"),
        (("emma", "--n-head", "3"), "expected n_embd to be a multiple of n_head"),
        (("emma", "--run-dir", "none"), "expected a run with a checkpoint, got none — none"),
    ],
)
def test_what_is_typed_wrong_ends_with_two_and_says_what_to_do(
    arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = explain(capsys, *arguments)

    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize("text", ["", "wte", "wte[3]", "wte[3][x]", "wte[-1][0]", "wte[3][5][1]"])
def test_a_malformed_parameter_is_answered_with_the_matrices(text: str) -> None:
    with pytest.raises(UsageError, match=r"of: wte 27 x 16, wpe 8 x 16, lm_head 27 x 16, layer0"):
        find_parameter(LAYOUT, text)


def test_an_unknown_matrix_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"got 'layer1.attn_wq' — --param; .* layer0.mlp_fc2 16 x"):
        find_parameter(LAYOUT, "layer1.attn_wq[0][0]")


@pytest.mark.parametrize("text", ["wpe[8][0]", "wpe[0][16]"])
def test_a_row_or_column_outside_is_answered_with_the_shape(text: str) -> None:
    with pytest.raises(UsageError, match=r"row from 0 to 7 and a column from 0 to 15, got .*wpe"):
        find_parameter(LAYOUT, text)


def test_a_parameter_is_found_in_flat_order() -> None:
    assert find_parameter(LAYOUT, "wte[3][5]") == 3 * 16 + 5
    assert find_parameter(LAYOUT, " wpe[1][2] ") == 27 * 16 + 16 + 2


def test_a_run_of_another_shape_than_was_said_is_refused(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = explain(capsys, "ab", "--run-dir", run_dir, "--n-embd", "16")

    assert code == 2
    assert "expected n_embd 2 as recorded, got 16" in err


def test_a_model_that_has_diverged_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, **FLAGS)[0]
    huge = array("d", (1e6 * param for param in plan.run.params))
    save(tmp_path, replace(plan, run=replace(plan.run, params=huge)))

    code, _, err = explain(capsys, "ab", "--run-dir", str(tmp_path / "run"))

    assert code == 1
    assert "training has diverged" in err
