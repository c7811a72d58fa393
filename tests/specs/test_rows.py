"""Every row against the real module that Transformers builds from the same config, as integers.

Each type in a tiny config: parameters, and FLOPs by operator of a forward pass and of a training
step. All heads and every field of every config class in ``make thorough``; here each type with its
usual head, and some of both.
"""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import count_parameters
from rmtscale.errors import BadInput
from rmtscale.profiler.real_module import real_flops, real_module, real_parameters
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.reading import read
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.rows.heads import known_heads
from rmtscale.specs.workload import Workload
from tests.grids import THOROUGH, covering
from tests.specs.tiny_configs import TINY

pytestmark = pytest.mark.usefixtures("remembered_shapes")
TOKENS = 40
NO_HEAD = ("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text")
"""Text models that Transformers has without a head of their own."""


def class_name(kind: str) -> str:
    row = ROWS[kind]
    return f"{row.prefix}{'TextModel' if kind in NO_HEAD else row.default_class}"


def predicted(
    config: dict[str, Any], name: str, mode: str = "forward", tokens: int = TOKENS
) -> tuple[int, Any]:
    spec = read(config, "tiny", name).spec
    work = Workload(tokens=tokens, mode=mode)  # type: ignore[arg-type]
    return count_parameters(spec).total, estimate_flops(spec, work, None, "matmul").by_operator()


def test_every_row_has_a_tiny_config() -> None:
    assert set(TINY) == set(ROWS)


@pytest.mark.parametrize(("kind", "mode"), covering(ROWS, ["train", "forward"]))
def test_a_type_is_its_real_module(kind: str, mode: str) -> None:
    config, name = TINY[kind], class_name(kind)
    module = real_module(config, name, "tiny")
    found = real_parameters(module), real_flops(module, TOKENS, train=mode == "train")
    assert predicted(config, name, mode) == found


@pytest.mark.parametrize(
    ("kind", "tokens"), [("mamba2", 16), ("mamba2", 17), ("qwen3_5_text", 64), ("qwen3_5_text", 1)]
)
def test_whole_chunks_and_parts_of_one(kind: str, tokens: int) -> None:
    """Chunks of 16 and of 64 tokens; the last is filled up, and a full one stays as it is."""
    config, name = TINY[kind], class_name(kind)
    module = real_module(config, name, "tiny")
    for train in (False, True):
        mode = "train" if train else "forward"
        found = predicted(config, name, mode, tokens)[1]
        assert found == real_flops(module, tokens, train=train)


SHARED = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
"""Layers of each kind, of which the last ones may use the keys of those before."""


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("lfm2", {"block_ffn_dim_multiplier": 1.3, "block_multiple_of": 24}),
        ("mamba", {"intermediate_size": 176}),
        ("falcon_mamba", {"expand": 3}),
        ("gemma4_text", SHARED | {"num_kv_shared_layers": 1}),
        ("gemma4_text", SHARED | {"num_kv_shared_layers": 2, "use_double_wide_mlp": True}),
    ],
)
def test_what_follows_from_fields_that_no_tiny_config_has(kind: str, sizes: dict[str, Any]) -> None:
    config, name = {**TINY[kind], **sizes}, class_name(kind)
    module = real_module(config, name, "tiny")
    assert predicted(config, name) == (real_parameters(module), real_flops(module, TOKENS))


@pytest.mark.parametrize("kind", ROWS)
def test_defaults_are_the_class_s(kind: str) -> None:
    """What a config leaves out is what its class in Transformers fills in, field by field."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    written = CONFIG_MAPPING[kind]().to_dict()
    defaults = ROWS[kind].defaults
    ours = {key: value for key, value in defaults.items() if value not in (None, "auto")}
    known = set(ours) & set(written)
    assert {key: ours[key] for key in known} == {key: written[key] for key in known}
    assert len(ours) - len(known) <= 3  # a few have a name of their own, or are worked out


@pytest.mark.parametrize("kind", ROWS)
def test_what_follows_from_a_size_follows_as_in_the_class(kind: str) -> None:
    """A config that says its width and one other size, beside all that its class makes of that:
    where heads of keys and values are not said, most classes take as many as of queries."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    row, made, compared = ROWS[kind], CONFIG_MAPPING[kind], 0
    base = made().to_dict()
    width = row.field_of("width")
    for axis in ("width", "layers", "heads", "inner", "vocabulary"):
        name = row.field_of(axis)
        if type(base.get(name)) is not int:
            continue
        try:
            whole = made(**{name: 2 * base[name]}).to_dict()
        except (ValueError, StrictDataclassError):  # refused there: sizes that go together
            continue
        if "per_layer_config" in whole:  # which is not read, and said so
            continue
        little = {"model_type": kind, width: base[width], name: 2 * base[name]}
        assert _spec_or_refusal(little) == _spec_or_refusal(whole)
        compared += 1
    assert compared or kind == "gemma4_text"


def _spec_or_refusal(config: dict[str, Any]) -> object:
    try:
        return read_mapping(config, "mine").spec
    except BadInput as refused:
        return str(refused)


# A class whose input a tensor without values cannot be: it looks for the end of the text.
_UNCOUNTED = frozenset(f"{prefix}ForSequenceClassification" for prefix in ("T5", "MT5", "Bart"))
SOME_HEADS = ("bert", "roberta", "llama", "gpt2", "t5", "modernbert", "electra", "distilbert")


@pytest.mark.parametrize("kind", ROWS if THOROUGH else SOME_HEADS)
def test_every_head(kind: str) -> None:
    config, row, compared = TINY[kind], ROWS[kind], 0
    for head in known_heads(row):
        name = f"{row.prefix}{head}"
        try:
            module = real_module(config, name, "tiny")
        except BadInput:
            continue  # none of that name, or only inside a model that sees
        compared += 1
        parameters, forward = predicted(config, name)
        assert (name, parameters) == (name, real_parameters(module))
        if name not in _UNCOUNTED:
            assert (name, forward) == (name, real_flops(module, TOKENS))
    assert compared >= 1


@pytest.mark.parametrize("labels", [{"num_labels": 1}, {"num_labels": 7}, {"id2label": {"0": "a"}}])
@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_labels_count(kind: str, labels: dict[str, Any]) -> None:
    name = f"{ROWS[kind].prefix}ForSequenceClassification"
    config = {**TINY[kind], "architectures": [name], **labels}
    spec = read_mapping(config, "tiny").spec
    assert count_parameters(spec).total == real_parameters(real_module(config, name, "tiny"))


_SKIPPED = frozenset(
    "architectures model_type transformers_version dtype bos_token_id eos_token_id pad_token_id "
    "rope_parameters rope_scaling attn_config per_layer_config is_encoder_decoder "
    "chunk_size_feed_forward output_attentions output_hidden_states return_dict".split()
)
_EVERYWHERE: dict[str, Any] = {
    "num_labels": 2,
    "head_dim": None,
    "attention_bias": None,
    "mlp_bias": None,
    "sliding_window": None,
    "layer_types": None,
    "num_experts": None,
    "num_key_value_heads": None,
    "tie_word_embeddings": False,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "num_hidden_layers": 2,
}


def _changes(value: Any) -> list[Any]:
    """Other values that a field may have."""
    if isinstance(value, bool):
        return [not value, None]
    if value is None:
        return [True, 2, 32]
    if isinstance(value, int):
        return [2 * value, value + 1, None]
    if isinstance(value, float):
        return [0.5]
    if isinstance(value, str):
        return ["gated-gelu", "relu", "silu"]
    return [None, list(reversed(value))] if isinstance(value, list | tuple) else []


def _fields(kind: str) -> dict[str, Any]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = TINY[kind]
    return {**_EVERYWHERE, **CONFIG_MAPPING[kind].from_dict(config).to_dict(), **config}


@pytest.mark.parametrize("kind", ROWS if THOROUGH else ("qwen3_moe", "gemma2", "electra"))
def test_no_field_is_silent(kind: str) -> None:
    """A field that changes the real module changes the shape alike, or the config is refused.

    By one other value of each field; by all of them in ``make verify``.
    """
    config, name = TINY[kind], class_name(kind)
    compared = 0
    for turn, (key, value) in enumerate(_fields(kind).items()):
        if key in _SKIPPED:
            continue
        others = [other for other in _changes(value) if other != value]
        # Heads of a tiny model must stay wide enough to be rotated.
        if key == "head_dim":
            others = [other for other in others if other is None or other > 3]
        changes = [{**config, key: other} for other in others]
        if key in config and key != "num_attention_heads":
            changes.append({other: item for other, item in config.items() if other != key})
        first = turn % max(1, len(changes))
        for changed in changes[first:] + changes[:first]:
            try:
                ours = predicted(changed, name)
            except BadInput:
                continue  # refused by name
            try:
                module = real_module(changed, name, "tiny")
                theirs = real_parameters(module), real_flops(module, TOKENS)
            except BadInput:
                continue  # Transformers cannot build or run it
            assert (key, changed.get(key, "absent"), ours) == (
                key,
                changed.get(key, "absent"),
                theirs,
            )
            compared += 1
            if not THOROUGH:
                break
    assert compared > 20
