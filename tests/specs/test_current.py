"""Presets of what people run now: their totals, and the real modules of the smaller ones."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.kept import cache_numbers
from rmtscale.costs.parameters import active_parameters, count_parameters
from rmtscale.specs.catalog import PRESETS as PLAIN
from rmtscale.specs.current import PRESETS, current_name
from rmtscale.specs.huggingface import read_mapping, read_model, resolve_model
from rmtscale.specs.workload import Workload
from tests.grids import THOROUGH
from tests.meta_shapes import RememberedShapes

# Each was held against its real module, and against that of a published config where there was one
# at hand; here no total changes unseen.
TOTALS = list(csv.DictReader(Path(__file__).with_name("presets.csv").open(encoding="utf-8")))


@pytest.fixture(autouse=True)
def _remembered_shapes() -> Iterator[None]:
    """The same operators on the same shapes, type by type and field by field."""
    with RememberedShapes():
        yield


def test_names() -> None:
    assert not set(PRESETS) & set(PLAIN)
    assert [facts["name"] for facts in TOTALS] == [*PLAIN, *PRESETS]
    assert current_name("Qwen/Qwen3-8B") == "qwen3-8b"
    assert current_name("QWEN3-8B") == "qwen3-8b"
    assert current_name("qwen3-9b") is None


@pytest.mark.parametrize("facts", TOTALS, ids=lambda facts: facts["name"])
def test_totals(facts: dict[str, str]) -> None:
    """Parameters, FLOPs and cache: no size, head or window of a preset can change unseen."""
    spec = resolve_model(facts["name"])
    assert count_parameters(spec).total == int(facts["parameters"])
    assert active_parameters(spec) == int(facts["active"])
    flops = estimate_flops(spec, Workload(tokens=96), None, "matmul").total
    assert flops == int(facts["flops_at_96"])
    assert cache_numbers(spec, 100_000) == int(facts["cached_at_100000"])


@pytest.mark.parametrize("name", PRESETS)
def test_everything_in_a_preset_is_counted(name: str) -> None:
    reading = read_model(name)
    assert reading.not_counted == ()
    assert reading.spec.hub_name == PRESETS[name].hub_name
    assert 0 < active_parameters(reading.spec) <= count_parameters(reading.spec).total


SOME = (
    *("roberta-base", "modernbert-large", "mamba2-1.3b", "gemma-3-27b", "t5-large", "deepseek-v3"),
    *("all-minilm-l6-v2", "gpt-oss-120b"),
)


@pytest.mark.parametrize("name", PRESETS if THOROUGH else SOME)
def test_the_real_module(name: str) -> None:
    """The class that Transformers builds of the preset's config, on ``meta``."""
    from rmtscale.profiler.flop_check import check_parameters, real_build

    reading = read_model(name)
    check = check_parameters(reading.spec, real_build(reading))
    assert check.predicted == check.counted


def test_an_embedding_model_has_no_head() -> None:
    """MiniLM is a ``BertModel`` with its pooler; a classifier of two labels would be 770 more."""
    reading = read_model("all-minilm-l6-v2")
    assert (reading.class_name, reading.head) == ("BertModel", "none, a pooler")
    assert count_parameters(reading.spec).total == 22_713_216
    config = {
        **PRESETS["all-minilm-l6-v2"].config,
        "architectures": ["BertForSequenceClassification"],
    }
    assert count_parameters(read_mapping(config, "x").spec).total == 22_713_216 + 2 * (384 + 1)
