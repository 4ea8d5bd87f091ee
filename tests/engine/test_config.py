"""The settings: what each refuses and how it says so, and the round trip of a WorkConfig."""

import hashlib
import json
import math
from typing import Any

import pytest

from engine.config import COMPILED_MAX, ModelConfig, TrainConfig, WorkConfig, canonical_json
from engine.errors import ConfigError

pytestmark = pytest.mark.unit


def test_the_default_model_has_the_4192_parameters_of_microgpt() -> None:
    assert ModelConfig(vocab_size=27).num_params == 4192


def test_a_wider_model_has_14528_parameters() -> None:
    assert ModelConfig(vocab_size=27, n_embd=32).num_params == 14_528


def test_the_embedding_is_shared_evenly_among_the_heads() -> None:
    assert ModelConfig(vocab_size=27, n_embd=12, n_head=3).head_dim == 4


@pytest.mark.parametrize(
    ("shape", "expected", "got", "way_out"),
    [
        ({"n_layer": 0}, "n_layer of 1 or more", "0", "--n-layer"),
        ({"n_embd": -16}, "n_embd of 1 or more", "-16", "--n-embd"),
        ({"n_head": 2.0}, "n_head of 1 or more", "2.0", "--n-head"),
        ({"block_size": True}, "block_size of 1 to 65,534", "True", "--block-size"),
        ({"vocab_size": 2}, "vocab_size of 3 to 65,535", "2", "the dataset"),
        ({"vocab_size": 65_536}, "vocab_size of 3 to 65,535", "65536", "the dataset"),
        ({"activation": "gelu"}, "activation to be relu or relu2", "'gelu'", "--activation"),
        ({"norm": "batch"}, "norm to be rms or layer", "'batch'", "--norm"),
        ({"n_head": 3}, "n_embd to be a multiple of n_head", "n_embd 16 and n_head 3", "--n-head"),
        ({"n_embd": 1024}, "at most 1,966,080 parameters", "12,654,592", "lower --n-embd"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_shape_that_no_model_can_have_is_refused_with_expected_got_and_way_out(
    shape: dict[str, Any], expected: str, got: str, way_out: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**{"vocab_size": 27, **shape})

    claim, advice = str(caught.value).split(" — ")
    assert claim == f"expected {expected}, got {got}"
    assert way_out in advice


@pytest.mark.parametrize(
    ("change", "expected", "got", "way_out"),
    [
        ({"steps": 0}, "steps of 1 or more", "0", "--steps"),
        ({"steps": "10"}, "steps of 1 or more", "'10'", "--steps"),
        ({"batch_size": 0}, "batch_size of 1 to 1,000,000", "0", "--batch-size"),
        ({"batch_size": 1_000_001}, "batch_size of 1 to 1,000,000", "1000001", "--batch-size"),
        ({"shards": 0}, "shards of 1 or more", "0", "--shards"),
        ({"seed": -1}, "seed of 0 to 9,223,372,036,854,775,807", "-1", "--seed"),
        ({"seed": 2**63}, "seed of 0 to 9,223,372,036,854,775,807", str(2**63), "--seed"),
        ({"warmup_steps": -1}, "warmup_steps of 0 or more", "-1", "--warmup-steps"),
        ({"schedule": "step"}, "schedule to be linear or cosine or constant", "'step'", "--sched"),
        ({"learning_rate": 0.0}, "a finite learning_rate above 0", "0.0", "--learning-rate"),
        ({"learning_rate": math.nan}, "a finite learning_rate above 0", "nan", "--learning-rate"),
        ({"learning_rate": math.inf}, "a finite learning_rate above 0", "inf", "--learning-rate"),
        ({"epsilon": -1e-8}, "a finite epsilon above 0", "-1e-08", "--epsilon"),
        ({"beta1": 1.0}, "beta1 between 0 and 1", "1.0", "--beta1"),
        ({"beta2": -0.1}, "beta2 between 0 and 1", "-0.1", "--beta2"),
        ({"held_out": 1}, "held_out between 0 and 1", "1", "--held-out"),
        ({"held_out": None}, "held_out between 0 and 1", "None", "--held-out"),
        ({"shards": 9}, "at most one shard per document", "9 shards for a batch of 8", "--shards"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_no_run_can_have_is_refused_with_expected_got_and_way_out(
    change: dict[str, Any], expected: str, got: str, way_out: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{"steps": 10, "batch_size": 8, "shards": 4, **change})

    claim, advice = str(caught.value).split(" — ")
    assert claim == f"expected {expected}, got {got}"
    assert way_out in advice


def test_an_unknown_engine_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ConfigError, match=r"expected engine to be eager.*, got 'abacus' — .*--eng"):
        TrainConfig(steps=1, batch_size=1, shards=1, engine="abacus")


@pytest.mark.parametrize("name", ["beta1", "beta2", "held_out"])
def test_a_fraction_may_be_zero(name: str) -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1, **{name: 0.0})

    assert getattr(config, name) == 0.0


WORK = WorkConfig(engine="eager", batch_size=8, shards=4, model=ModelConfig(vocab_size=27))
WORK_JSON = (
    '{"batch_size":8,"engine":"eager","model":{"activation":"relu","block_size":16,"n_embd":16,'
    '"n_head":4,"n_layer":1,"norm":"rms","vocab_size":27},"shards":4}'
)


def test_a_work_config_has_one_text() -> None:
    assert WORK.to_json() == WORK_JSON


def test_a_work_config_comes_back_from_its_text() -> None:
    assert WorkConfig.from_json(WORK_JSON) == WORK


def test_a_work_config_is_read_from_any_order_of_its_fields() -> None:
    backwards = json.dumps(dict(reversed(json.loads(WORK_JSON).items())))

    assert WorkConfig.from_json(backwards).digest == WORK.digest


def test_the_digest_is_the_sha256_of_that_text() -> None:
    assert WORK.digest == hashlib.sha256(WORK_JSON.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        WorkConfig("eager", 16, 4, ModelConfig(vocab_size=27)),
        WorkConfig("eager", 8, 8, ModelConfig(vocab_size=27)),
        WorkConfig("eager", 8, 4, ModelConfig(vocab_size=28)),
        WorkConfig("eager", 8, 4, ModelConfig(vocab_size=27, activation="relu2")),
        WorkConfig("eager", 8, 4, ModelConfig(vocab_size=27, norm="layer")),
    ],
    ids=["batch_size", "shards", "vocab_size", "activation", "norm"],
)
def test_whatever_changes_a_gradient_changes_the_digest(other: WorkConfig) -> None:
    assert other.digest != WORK.digest


def _work(**changes: Any) -> str:
    return json.dumps({**json.loads(WORK_JSON), **changes})


@pytest.mark.parametrize(
    ("text", "config"),
    [
        pytest.param("{", "WorkConfig", id="not JSON"),
        pytest.param("[]", "WorkConfig", id="a list"),
        pytest.param("{}", "WorkConfig", id="no fields"),
        pytest.param(_work(speed=3), "WorkConfig", id="an unknown field"),
        pytest.param(_work(model=None), "ModelConfig", id="no model"),
        pytest.param(_work(model={"vocab_size": 27}), "ModelConfig", id="a model without shape"),
    ],
)
def test_a_text_with_other_fields_is_refused_by_the_name_of_what_was_expected(
    text: str, config: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^expected the fields .*, got .* — {config}; "):
        WorkConfig.from_json(text)


def test_a_work_config_with_an_impossible_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of n_head"):
        WorkConfig.from_json(WORK_JSON.replace('"n_head":4', '"n_head":3'))


def test_canonical_json_keeps_every_bit_of_a_float() -> None:
    assert json.loads(canonical_json({"rate": 0.1 + 0.2}))["rate"] == 0.1 + 0.2


def test_canonical_json_has_no_word_for_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(math.nan)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"engine": "abacus"}, "expected engine to be eager or compiled, got 'abacus'"),
        ({"batch_size": "many"}, "expected batch_size of 1 to 1,000,000, got 'many'"),
        ({"shards": 0}, "expected shards of 1 to 8, got 0"),
    ],
)
def test_a_work_config_that_no_worker_can_follow_is_refused(
    change: dict[str, Any], complaint: str
) -> None:
    values = {"engine": "eager", "batch_size": 8, "shards": 4, "model": ModelConfig(27)}

    with pytest.raises(ConfigError, match=complaint):
        WorkConfig(**{**values, **change})


def test_a_global_batch_that_does_not_fit_into_a_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="lower --batch-size"):
        WorkConfig("eager", 500_000, 1, ModelConfig(27))


def test_a_model_too_large_to_compile_is_refused_and_the_eager_engine_named() -> None:
    """Its graph could take all memory: better to read that than to be killed."""
    model = ModelConfig(vocab_size=27, n_embd=64, block_size=32)
    size = model.num_params * model.block_size

    with pytest.raises(ConfigError) as caught:
        WorkConfig("compiled", 8, 4, model)

    claim, advice = str(caught.value).split(" — ")
    assert size > COMPILED_MAX
    assert claim == (
        f"expected at most {COMPILED_MAX:,} parameters times positions for the compiled engine,"
        f" got {size:,}"
    )
    assert "--engine eager" in advice
    assert WorkConfig("eager", 8, 4, model).engine == "eager"


def test_a_model_exactly_at_the_limit_is_compiled() -> None:
    model = ModelConfig(vocab_size=225, n_embd=25, n_head=5, block_size=50)

    assert model.num_params * model.block_size == COMPILED_MAX
    assert WorkConfig("compiled", 8, 4, model).model == model


def test_the_defaults_of_a_run_are_those_of_microgpt_but_for_the_engine() -> None:
    assert TrainConfig(steps=1000, batch_size=1, shards=1) == TrainConfig(
        steps=1000,
        batch_size=1,
        shards=1,
        seed=42,
        engine="compiled",
        learning_rate=0.01,
        beta1=0.85,
        beta2=0.99,
        epsilon=1e-8,
        schedule="linear",
        warmup_steps=0,
        held_out=0.0,
    )


def test_a_refusal_quotes_only_the_beginning_of_a_long_text() -> None:
    with pytest.raises(ConfigError) as refusal:
        WorkConfig.from_json(json.dumps("x" * 100_000))

    assert len(str(refusal.value)) < 400


def test_a_config_of_nothing_but_brackets_is_refused() -> None:
    with pytest.raises(ConfigError):
        WorkConfig.from_json("[" * 1024)
