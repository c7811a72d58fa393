"""Presets of what people run now: their totals, and the real modules of the smaller ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rmtscale.costs.parameters import active_parameters, count_parameters
from rmtscale.specs.catalog import PRESETS as PLAIN
from rmtscale.specs.current import PRESETS, current_name
from rmtscale.specs.huggingface import read_model, resolve_model
from tests.meta_shapes import RememberedShapes

# Held against the modules of published configs where there was one at hand; the others
# wait for one and only keep a total from changing unseen.
TOTALS = {
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-2-2b": 2_614_341_888,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "phi-3-mini": 3_821_079_552,
    "phi-4": 14_659_507_200,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "smollm3-3b": 3_075_098_624,
    "olmo-2-7b": 7_298_617_344,
    "olmo-2-13b": 13_716_198_400,
    "olmo-2-32b": 32_234_279_936,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "deepseek-v3": 671_026_404_352,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "mistral-nemo-12b": 12_247_782_400,
    "mamba2-2.7b": 2_702_599_680,
    "gemma-3-1b": 999_885_952,
    "all-minilm-l6-v2": 22_713_216,
}


@pytest.fixture(autouse=True)
def _remembered_shapes() -> Iterator[None]:
    """The same operators on the same shapes, type by type and field by field."""
    with RememberedShapes():
        yield


def test_names() -> None:
    assert not set(PRESETS) & set(PLAIN)
    assert set(TOTALS) <= set(PRESETS)
    assert current_name("Qwen/Qwen3-8B") == "qwen3-8b"
    assert current_name("QWEN3-8B") == "qwen3-8b"
    assert current_name("qwen3-9b") is None


@pytest.mark.parametrize("name", TOTALS)
def test_totals(name: str) -> None:
    assert count_parameters(resolve_model(name)).total == TOTALS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_everything_in_a_preset_is_counted(name: str) -> None:
    reading = read_model(name)
    assert reading.not_counted == ()
    assert reading.spec.hub_name == PRESETS[name].hub_name
    assert 0 < active_parameters(reading.spec) <= count_parameters(reading.spec).total


@pytest.mark.parametrize(
    "name",
    ["roberta-base", "modernbert-large", "mamba2-1.3b", "gemma-3-27b", "t5-large", "roberta-large"],
)
def test_the_real_module(name: str) -> None:
    from rmtscale.profiler.flop_check import check_parameters, real_build

    reading = read_model(name)
    check = check_parameters(reading.spec, real_build(reading))
    assert check.predicted == check.counted
