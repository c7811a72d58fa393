"""What a config says besides its sizes: the class, what is left out, what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.costs.parameters import count_parameters
from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import read_mapping, to_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import NoRow
from tests.specs.tiny_configs import TINY

BERT = to_config(PRESETS["bert-base-uncased"])


def tiny(kind: str, **fields: Any) -> dict[str, Any]:
    return {**TINY[kind], **fields}


def parameters(config: dict[str, Any]) -> int:
    return count_parameters(read_mapping(config, "mine").spec).total


@pytest.mark.parametrize(
    ("architecture", "head", "total"),
    [
        ("BertForSequenceClassification", "sequence classification", 109_483_778),
        ("BertForMaskedLM", "masked language model", 109_514_298),
        ("BertModel", "none, a pooler", 109_482_240),
        ("BertForTokenClassification", "token classification", 108_893_186),
        ("BertForQuestionAnswering", "question answering", 108_893_186),
    ],
)
def test_the_head_is_the_architectures(architecture: str, head: str, total: int) -> None:
    reading = read_mapping(BERT | {"architectures": [architecture]}, "mine")
    assert (reading.class_name, reading.head) == (architecture, head)
    assert count_parameters(reading.spec).total == total


def test_of_two_architectures_the_first_counts() -> None:
    both = ["BertForTokenClassification", "BertForMaskedLM"]
    reading = read_mapping(BERT | {"architectures": both}, "mine")
    assert (reading.class_name, count_parameters(reading.spec).total) == (both[0], 108_893_186)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_late_windows_stand_where_transformers_has_them(kind: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = tiny(kind, num_hidden_layers=5, max_window_layers=2)
    config |= {"use_sliding_window": True, "sliding_window": 7}
    real = CONFIG_MAPPING[kind](**config)
    spec = read_mapping(config, "mine").spec
    assert isinstance(spec, LayeredSpec)
    found = [layer.mixer for layer, count in spec.groups for _ in range(count)]
    windows = [7 * (name == "sliding_attention") for name in real.layer_types]
    assert [mixer.window for mixer in found if isinstance(mixer, Attention)] == windows
    assert 0 < sum(map(bool, windows)) < 5


def test_a_classifier_on_a_decoder_has_no_vocabulary_head() -> None:
    with_head = tiny("llama", tie_word_embeddings=False)
    classifier = with_head | {"architectures": ["LlamaForSequenceClassification"], "num_labels": 3}
    vocabulary, width = with_head["vocab_size"], with_head["hidden_size"]
    assert parameters(with_head) - parameters(classifier) == width * (vocabulary - 3)


def test_the_plain_families_stay_plain() -> None:
    assert read_mapping(to_config(PRESETS["gpt2"]), "mine").spec.kind == "gpt2"
    assert not isinstance(read_mapping(to_config(PRESETS["gpt2"]), "mine").spec, LayeredSpec)
    headless = to_config(PRESETS["gpt2"]) | {"architectures": ["GPT2Model"]}
    assert isinstance(read_mapping(headless, "mine").spec, LayeredSpec)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["MyGPT2LMHeadModel"]}, "'MyGPT2LMHeadModel', which is none of the"),
        ({"architectures": ["GPT2DoubleHeadsModel"]}, "'GPT2DoubleHeadsModel'"),
        ({"architectures": "GPT2LMHeadModel"}, "architectures is 'GPT2LMHeadModel', expected"),
        ({"num_labels": 0, "architectures": ["GPT2ForTokenClassification"]}, "num_labels is 0"),
    ],
)
def test_a_class_that_is_not_counted(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as error:
        read_mapping(to_config(PRESETS["gpt2"]) | config, "mine")
    assert message in str(error.value)


def test_remote_code_is_refused_by_name() -> None:
    config = {"model_type": "mine", "auto_map": {"x": "y"}, "architectures": ["MineForCausalLM"]}
    with pytest.raises(NoRow, match="MineForCausalLM is remote code, which is never run"):
        read_mapping(config, "mine")


def test_every_field_is_used_harmless_or_said() -> None:
    reading = read_mapping(tiny("qwen3", rope_theta=1e6, dream_layers=3, another="x"), "mine")
    assert reading.not_counted == ("fields that qwen3 does not know: another, dream_layers",)


def test_null_is_not_absent() -> None:
    """Absent is the class's default, null is none."""
    config = tiny("deepseek_v3")
    attention = _attention(config | {"q_lora_rank": None})
    assert attention.query_rank == 0
    del config["q_lora_rank"]
    assert _attention(config).query_rank == 1536
    heads = tiny("qwen2", num_attention_heads=32, hidden_size=64)
    assert _attention(heads | {"num_key_value_heads": None}).kv_heads == 32


def _attention(config: dict[str, Any]) -> Attention:
    spec = read_mapping(config, "mine").spec
    assert isinstance(spec, LayeredSpec)
    mixer = spec.groups[0][0].mixer
    assert isinstance(mixer, Attention)
    return mixer


def test_a_nested_text_model_is_filled_from_its_defaults() -> None:
    nested = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 2},
        "vision_config": {"hidden_size": 32},
    }
    reading = read_mapping(nested, "mine")
    assert reading.not_counted == ("vision: left out, the text model alone is counted",)
    assert (reading.spec.width, reading.spec.vocabulary, reading.spec.layers) == (2304, 262208, 2)
    assert reading.head == "language model"


def test_quantization_is_named() -> None:
    stored = tiny("qwen3", quantization_config={"quant_method": "awq", "bits": 4})
    assert any("awq" in note for note in read_mapping(stored, "mine").not_counted)


def test_the_other_name_of_a_field_is_taken() -> None:
    config = to_config(PRESETS["gpt2"]) | {"num_hidden_layers": 3}
    assert read_mapping(config, "mine").spec.layers == 3


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("qwen3", {"num_key_value_heads": 3}, "num_key_value_heads is 3, expected a divisor"),
        ("qwen3", {"vocab_size": "x"}, "vocab_size is 'x', expected a whole number of 1 or more"),
        ("qwen2", {"hidden_size": 65}, "hidden_size is 65, expected a multiple of"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types names 1 layers, expected 2"),
        ("qwen3", {"attention_bias": 3}, "attention_bias is 3, expected true or false"),
        ("albert", {"num_hidden_groups": 2}, "num_hidden_groups and inner_group_num, expected 1"),
        ("bert", {"is_decoder": True, "architectures": ["BertForMaskedLM"]}, "not supported"),
        ("mamba2", {"num_heads": 3}, "num_heads 3 by head_dim 16, expected"),
        ("llama4_text", {"no_rope_layers": [1]}, "no_rope_layers is [1], expected a list of"),
        ("nemotron_h", {"layers_block_type": ["x"]}, "layers_block_type is 'x'"),
    ],
)
def test_a_bad_field(kind: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as error:
        read_mapping(tiny(kind, **change), "mine")
    assert message in str(error.value)
    assert "mine" in str(error.value)
    assert "\n" not in str(error.value)
