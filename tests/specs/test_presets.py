"""Every preset is the real model: parameters, config and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.parameters import block_matrix_weights, count_parameters, memory_parameters
from rmtscale.specs.catalog import FAMILIES, PRESETS, find_preset
from rmtscale.specs.huggingface import from_config, to_config
from rmtscale.specs.recurrence import Recurrence

# Published totals that are not our own arithmetic: model cards and papers.
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "pythia-14m": 14_067_712,
    "pythia-70m": 70_426_624,
    "pythia-1b": 1_011_781_632,
    "pythia-12b": 11_846_072_320,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
}


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_equal_the_real_module(name: str) -> None:
    from rmtscale.rmt.build import build_backbone

    module = build_backbone(PRESETS[name])
    assert count_parameters(PRESETS[name]).total == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters(name: str) -> None:
    assert count_parameters(PRESETS[name]).total == PUBLISHED[name]


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_leads_back_to_the_spec(name: str) -> None:
    spec = PRESETS[name]
    again = from_config(to_config(spec), name)
    assert replace(again, hub_name=spec.hub_name, source=spec.source) == spec


@pytest.mark.parametrize("name", ["gpt2", "opt-125m", "bert-base-cased", "gpt-neo-125m"])
def test_transformers_own_defaults_are_read(name: str) -> None:
    """The config Transformers writes (with every field) gives the same spec as ours."""
    from transformers import AutoConfig

    spec = PRESETS[name]
    written = AutoConfig.for_model(**to_config(spec)).to_dict()
    again = from_config(written, name)
    assert replace(again, hub_name=spec.hub_name, source=spec.source) == spec


def test_block_matrices_of_gpt3_shape() -> None:
    """Kaplan's N = 12 L d^2 for a standard block."""
    spec = PRESETS["opt-175b"]
    assert block_matrix_weights(spec) == 12 * spec.layers * spec.width**2


def test_memory_is_as_wide_as_the_embedding() -> None:
    assert memory_parameters(PRESETS["opt-350m"], Recurrence(512, 10)) == 10 * 512
    assert memory_parameters(PRESETS["gpt2"], Recurrence(512, 0)) == 0


def test_names() -> None:
    assert find_preset("OPT-175B") is PRESETS["opt-175b"]
    assert find_preset("facebook/opt-125m") is PRESETS["opt-125m"]
    assert find_preset("nothing") is None
    assert sum(len(family) for family in FAMILIES.values()) == len(PRESETS)
    assert all(spec.source for spec in PRESETS.values())
