"""A size that a config does not say is told of, with what Transformers' class takes for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.specs.current import PRESETS
from rmtscale.specs.huggingface import read_mapping, read_model, to_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import Reading
from tests.command_line import Command
from tests.specs.tiny_configs import TINY

LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern", "attention_types")
"""An entry for each layer says how many there are."""
NO_SIZES = {
    "num_decoder_layers": "as many as the encoder has",
    "ffn_hidden_size": "four times the width (Falcon)",
    "intermediate_size": "four times the width (RWKV)",
    "first_k_dense_replace": "which layers have experts",
    "interleave_moe_layer_step": "which layers have experts",
}
"""Fields that say which layers are of which kind, or that follow from others where absent."""


@cache
def class_defaults(kind: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What Transformers' class takes for each field, and other names of fields."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made = CONFIG_MAPPING[TINY[kind]["model_type"]]()
    return made.to_dict(), dict(made.attribute_map)


def left_out(kind: str) -> Iterator[tuple[str, Reading]]:
    """Every field of the tiny config left out once, where it is read without."""
    for field in TINY[kind]:
        part = {name: value for name, value in TINY[kind].items() if name != field}
        try:
            yield field, read_mapping(part, "mine")
        except BadInput:  # a width, or one that divides no more
            continue


def size(reading: Reading) -> tuple[object, ...]:
    """The whole model's sizes, those of its blocks and experts among them."""
    spec = reading.spec
    blocks: set[tuple[int, ...]] = set()
    if isinstance(spec, LayeredSpec):
        every = [layer.feed_forward for layer, _ in (*spec.groups, *spec.encoder_groups)]
        blocks = {(block.inner, block.experts, block.active) for block in every}
    return spec.layers, spec.width, spec.mlp_width, spec.vocabulary, blocks


@pytest.mark.parametrize("kind", TINY)
def test_no_size_of_the_whole_changes_unseen(kind: str) -> None:
    whole = read_mapping(TINY[kind], "mine")
    assert not whole.assumed
    assert whole.notes == whole.not_counted
    defaults, other_names = class_defaults(kind)
    told = 0
    for field, reading in left_out(kind):
        if size(reading) == size(whole) or field in LISTS or not isinstance(TINY[kind][field], int):
            continue
        if reading.assumed:
            ((name, value),) = reading.assumed.items()
            assert field in (name, other_names.get(name)) or name == other_names.get(field)
            assert value == defaults.get(name, defaults.get(other_names.get(name, "")))
            note = f"not in the config, so its class's default is taken: {name} {value}"
            assert reading.notes == (*whole.not_counted, note)
            assert reading.not_counted == whole.not_counted
            told += 1
        else:
            assert field in NO_SIZES or defaults.get(field) is None, field
    assert told


def test_layers_that_are_listed_are_counted() -> None:
    tiny = {key: value for key, value in TINY["nemotron_h"].items() if key != "num_hidden_layers"}
    kinds = ["linear_attention", "full_attention", "mlp"] * 2
    reading = read_mapping(tiny | {"layers_block_type": kinds}, "mine")
    assert (reading.spec.layers, reading.assumed) == (6, {})


def test_a_nested_text_model_says_all_of_it() -> None:
    nested = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    assert read_mapping(nested, "mine").assumed == {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_was_released(name: str) -> None:
    assert read_model(name).assumed == {}


def test_the_commands_say_it(rmtscale: Command, tmp_path: Path) -> None:
    config = to_config(read_model("gpt2").spec)
    del config["n_layer"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    note = "not in the config, so its class's default is taken: n_layer 12"
    for line in ("flops --tokens 1k", "memory --tokens 1k"):
        done = rmtscale(*line.split(), "-m", str(tmp_path))
        assert done.code == 0
        assert f"note: {note}\n" in done.err
    place = str(tmp_path / "config.json")
    assert note in " ".join(rmtscale("models", place).out.split())
    (row,) = json.loads(rmtscale("models", place, "--format", "json").out)["rows"]
    assert row["assumed"] == {"n_layer": 12}
    assert row["not_counted"] == []
