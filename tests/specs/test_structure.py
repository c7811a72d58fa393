"""What stands in a config where a mapping or a list belongs is refused, wherever one belongs.

Which fields those are is asked of Transformers: of every type that has a row, its class's own
config and the tiny one that it is held against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.structure import FIELDS, TEXT_PARTS
from tests.command_line import Command
from tests.hostile.test_readers import QUANTIZED
from tests.specs.tiny_configs import TINY

NO_MAPPINGS: tuple[Any, ...] = (7, 0, "int8", "", [1], [], True, False, 1.5)
NO_LISTS: tuple[Any, ...] = (7, 0, "", True, False, 1.5, {}, {"a": 1}, [None], [{}])
MAY_BE_TEXT = ("hybrid_override_pattern", "index_topk_pattern")
"""A letter for each layer."""


@cache
def nested_fields(kind: str) -> dict[str, type]:
    """Fields of a type that are mappings or lists, by Transformers and by the tiny config."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tiny = TINY[kind]
    given = {key: value for key, value in tiny.items() if key != "model_type"}
    whole = CONFIG_MAPPING[tiny["model_type"]](**given).to_dict() | tiny
    return {
        key: type(value) for key, value in whole.items() if isinstance(value, dict | list | tuple)
    }


def refusal(config: Mapping[str, Any]) -> str:
    with pytest.raises(BadInput) as error:
        read_mapping(config, "mine")
    return str(error.value)


def demand_refused(config: Mapping[str, Any], field: str, value: object) -> None:
    told = refusal(config)
    assert told.startswith(f"model 'mine': {field} is {value!r}, expected "), told
    assert "\n" not in told


@pytest.mark.parametrize("kind", TINY)
def test_every_nested_field_of_every_type(kind: str) -> None:
    """Read or not: a reader that is added tomorrow asks for a field that has been looked at."""
    found = nested_fields(kind)
    assert found.keys() <= FIELDS.keys()
    for field, is_a in found.items():
        for value in NO_MAPPINGS if is_a is dict else NO_LISTS:
            demand_refused(TINY[kind] | {field: value}, field, value)


def wrong_values(field: str) -> tuple[Any, ...]:
    mapping = FIELDS[field].is_right({})
    return tuple(
        value
        for value in (NO_MAPPINGS if mapping else NO_LISTS)
        if not (field in MAY_BE_TEXT and value == "")
    )


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_the_table_alone_and_in_a_text_part(field: str) -> None:
    values = wrong_values(field)
    assert len(values) >= 8
    for value in values:
        demand_refused(TINY["llama"] | {field: value}, field, value)
        for part in TEXT_PARTS:
            nested = {"model_type": "llava", part: TINY["llama"] | {field: value}}
            demand_refused(nested, f"{part}.{field}", value)


@pytest.mark.parametrize("field", FIELDS)
def test_null_and_an_empty_one_are_none(field: str) -> None:
    plain = read_mapping(TINY["llama"], "mine").spec.layers
    empty: Any = {} if FIELDS[field].is_right({}) else []
    for value in (None, "" if field == "hybrid_override_pattern" else empty):
        assert read_mapping(TINY["llama"] | {field: value}, "mine").spec.layers == plain


def nested_places(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every mapping in a mapping by its place, with the whole in which it can be replaced."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield f"{place}.{key}", lambda bad, key=key: {**value, key: bad}
            for name, put in nested_places(inner, f"{place}.{key}"):
                yield name, lambda bad, key=key, put=put: {**value, key: put(bad)}


@pytest.mark.parametrize("method", QUANTIZED)
def test_every_mapping_in_a_quantization(method: str) -> None:
    """Torchao's ``quant_type`` may be a name: another than is known is told of, not refused."""
    for place, put in nested_places(QUANTIZED[method], "quantization_config"):
        for value in (7, "int8", [1]):
            config = TINY["llama"] | {"quantization_config": put(value)}
            if "quant_type" in place:
                assert "quantization torchao: quant_type" in str(read_mapping(config, "x"))
            else:
                demand_refused(config, place, value)


def test_a_group_may_name_a_scheme() -> None:
    stored = QUANTIZED["compressed-tensors"] | {"config_groups": {"W4A16": ["Linear"]}}
    reading = read_mapping(TINY["llama"] | {"quantization_config": stored}, "mine")
    assert reading.spec.quantization is None
    assert "config_groups names a scheme, 'W4A16'" in " ".join(reading.not_counted)


def test_the_command_says_one_line(tmp_path: Path, rmtscale: Command) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY["llama"] | {"quantization_config": 7}))
    outcome = rmtscale("flops", "-m", str(path))
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"error: model '{path}': quantization_config is 7, expected a mapping that names its "
        "quant_method"
    ]
