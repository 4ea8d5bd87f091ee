"""An export loads in PyTorch, and is the same model there; only where torch is installed."""

import json
from array import array
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-torch", exc_type=ImportError)

from safetensors.torch import load_file  # noqa: E402

from benchmarks.torch_peer import Peer, pad  # noqa: E402
from cli.export import export  # noqa: E402
from coordinator.checkpoint import Checkpoint, weights  # noqa: E402
from engine.config import ModelConfig  # noqa: E402
from engine.engines import engine_of  # noqa: E402
from engine.params import layout_of  # noqa: E402
from engine.tokenizer import Tokenizer  # noqa: E402
from tests.cli.runs import FLAGS, plan_of, save  # noqa: E402

pytestmark = [pytest.mark.unit, pytest.mark.torch]

SHAPE = {"n_layer": 2, "n_embd": 8, "n_head": 2, "block_size": 6}
DOCUMENTS = ["a", "ba", "abba", "bbaab", "abababab"]  # the last is cut


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return save(tmp_path, plan_of(tmp_path, **{**FLAGS, **SHAPE})[0]).checkpoints.load(3)


@pytest.fixture
def exported(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    export("torch", checkpoint, tmp_path / "exported")
    return tmp_path / "exported"


def test_every_tensor_of_an_export_is_ours_bit_for_bit(
    checkpoint: Checkpoint, exported: Path
) -> None:
    theirs = load_file(exported / "model.safetensors")

    ours = weights(checkpoint)
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == torch.float64
        assert tuple(tensor.shape) == ours[name].shape
        assert tensor.numpy().tobytes() == ours[name].tobytes()


def test_pytorch_computes_our_losses_from_nothing_but_an_export(
    checkpoint: Checkpoint, exported: Path
) -> None:
    """Shapes, names and vocabulary are those that the files say, not those that we know."""
    tensors = load_file(exported / "model.safetensors")
    config = ModelConfig(**json.loads((exported / "config.json").read_text()))
    vocabulary = json.loads((exported / "vocabulary.json").read_text())
    params = array("d")
    for matrix in layout_of(config):
        params.extend(tensors[matrix.name].flatten().tolist())
    tokenizer = Tokenizer(vocabulary["characters"])
    documents = [tokenizer.encode_document(text, config.block_size) for text in DOCUMENTS]

    losses = Peer(config, params, torch.float64)(*pad(documents)).tolist()

    assert vocabulary["bos"] == tokenizer.bos
    ours = engine_of("eager", checkpoint.model).losses(checkpoint.params, documents)
    assert losses == pytest.approx(ours, rel=1e-12, abs=0)


def test_the_python_that_an_export_prints_loads_it(
    tmp_path: Path, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(export("torch", checkpoint, tmp_path / "it's here"))

    assert "'wte': (3, 8)" in capsys.readouterr().out
