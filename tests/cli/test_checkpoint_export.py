"""`gradflock checkpoint export`: the same numbers for other programs, whole or not at all."""

import json
import os
import sys
from array import array
from itertools import chain
from pathlib import Path

import pytest

from coordinator.run_directory import RunDirectory
from engine.params import to_bytes, weights_sha256
from tests.cli.checkpoints import damage, ended, printed, refusal
from tests.coordinator.disk import full_disk

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_directory")]


def test_json_reads_back_to_the_same_weights_sha256(run: RunDirectory) -> None:
    ended("export", "out.json")

    exported = json.loads(Path("out.json").read_bytes())
    checkpoint = run.checkpoints.load(6)
    rows = chain.from_iterable(exported["weights"].values())
    params = array("d", chain.from_iterable(rows))
    assert weights_sha256(to_bytes(params)) == checkpoint.weights_sha256
    assert exported["weights_sha256"] == checkpoint.weights_sha256
    assert (exported["step"], exported["characters"]) == (6, "ab")
    assert exported["model"]["n_embd"] == 2
    assert len(exported["weights"]["wte"]) == exported["model"]["vocab_size"]


def test_a_directory_for_pytorch_holds_tensors_config_and_vocabulary(run: RunDirectory) -> None:
    ended("export", "out", "--format", "torch", "--step", "3")

    names = {path.name for path in Path("out").iterdir()}
    assert names == {"model.safetensors", "config.json", "vocabulary.json"}
    assert json.loads(Path("out/config.json").read_bytes())["n_embd"] == 2
    assert json.loads(Path("out/vocabulary.json").read_bytes()) == {"characters": "ab", "bos": 2}


def test_what_was_written_is_said_with_the_python_that_loads_it(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "export", "it's here.json")

    assert lines[0] == "wrote it's here.json: 92 parameters of step 6"
    assert lines[1] == f"weights sha256 {run.checkpoints.load(6).weights_sha256}"
    exec("\n".join(line.strip() for line in lines[-3:]))
    assert capsys.readouterr().out == "ab [-0.0, 5e-324]\n"


@pytest.mark.parametrize("kind", ["json", "torch"])
@pytest.mark.parametrize("taken", ["file", "directory", "dangling link"])
def test_nothing_that_exists_is_overwritten(
    kind: str, taken: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    if taken == "file":
        Path("out").write_text("mine")
    elif taken == "directory":
        Path("out").mkdir()
    else:
        Path("out").symlink_to("nowhere")

    line = refusal(capsys, "export", "out", "--format", kind)

    assert "expected a destination that does not exist, got one that does — out;" in line
    assert not Path("nowhere").exists()
    assert taken != "file" or Path("out").read_text() == "mine"


@pytest.mark.parametrize("kind", ["json", "torch"])
def test_a_destination_in_no_directory_is_refused(
    kind: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()

    for parent in ("none", "file"):
        line = refusal(capsys, "export", f"{parent}/out", "--format", kind)

        assert f"expected a directory to write to, got none — {parent};" in line


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, where nobody may write")
@pytest.mark.parametrize("kind", ["json", "torch"])
def test_a_destination_that_cannot_be_written_is_an_error_of_ours(
    kind: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, "export", "/proc/out", "--format", kind, code=1)

    assert "expected to write what is exported, got" in line


@pytest.mark.parametrize("kind", ["json", "torch"])
@pytest.mark.parametrize("file_bytes_max", [0, 100, 1000])
def test_a_full_disk_leaves_no_half_of_an_export(
    kind: str, file_bytes_max: int, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(Path().rglob("*"))

    with full_disk(file_bytes_max):
        line = refusal(capsys, "export", "out", "--format", kind, code=1)

    assert "got File too large — out; make room" in line
    assert set(Path().rglob("*")) == before


def test_a_damaged_checkpoint_is_not_exported(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 6)

    refusal(capsys, "export", "out", "--step", "6", code=1)

    assert not Path("out").exists()


@pytest.mark.parametrize("kind", ["json", "torch"])
def test_a_file_of_somebody_else_beside_the_destination_stays(
    kind: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [Path(".out.tmp"), Path(f".out.{os.getpid()}.tmp")]
    for path in theirs:
        path.write_text("mine")

    printed(capsys, "export", "out", "--format", kind)

    assert [path.read_text() for path in theirs] == ["mine", "mine"]
    assert Path("out").exists()
