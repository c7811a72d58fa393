"""The public names: there, documented, and no others."""

from __future__ import annotations

import doctest
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rmtscale
from rmtscale import BadInput

GIVEN: dict[str, Any] = {
    "model": "gpt2",
    "device": "a100",
    "workload": 1000,
    "generation_": 1000,
    "tokens": 1000,
    "method": "full",
    "methods": "full,rmt",
    "weights": "int8",
    "dtype_bytes": 2,
}
"""A good value of every parameter that an answer needs."""


@pytest.mark.parametrize("name", rmtscale.__all__)
def test_public_names_are_there_and_documented(name: str) -> None:
    value = getattr(rmtscale, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")  # not the one dataclasses make up
    assert name in dir(rmtscale)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'estimate_everything'"):
        rmtscale.estimate_everything  # noqa: B018


def test_homes_are_the_public_names() -> None:
    names = [name for names in rmtscale.HOMES.values() for name in names]
    assert sorted(names) == sorted(rmtscale.__all__)


def test_the_example() -> None:
    assert doctest.testmod(rmtscale).failed == 0
    assert doctest.testmod(rmtscale).attempted == 4


def asked(name: str, **other: Any) -> Any:
    """What a function of ``api`` answers when its other arguments are good."""
    function: Callable[..., Any] = getattr(rmtscale, name)
    parameters = inspect.signature(function).parameters
    given = {parameter: value for parameter, value in GIVEN.items() if parameter in parameters}
    return function(**given | other)


FUNCTIONS = [name for name in rmtscale.__all__ if name in rmtscale.HOMES["api"]]
PARAMETERS = [
    (name, parameter)
    for name in FUNCTIONS
    for parameter in inspect.signature(getattr(rmtscale, name)).parameters
    if parameter in ("model", "device", "recurrence", "method", "methods", "tokens", "weights")
]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
@pytest.mark.parametrize("value", [{"hidden_size": 64}, 1.5, object(), [object()], [{}], 3j])
def test_a_value_of_another_type_is_refused_in_one_line(
    name: str, parameter: str, value: Any
) -> None:
    with pytest.raises(BadInput) as refused:
        asked(name, **{parameter: value})
    said = str(refused.value)
    assert "\n" not in said
    assert ": expected " in said
    assert said.startswith(parameter.removesuffix("s"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_names_and_config_files(name: str, tmp_path: Path) -> None:
    """Text, a path of any kind, and what stands behind both answer the same."""
    config = tmp_path / "config.json"
    shape = {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100}
    config.write_text(json.dumps(shape), encoding="utf-8")
    spec = rmtscale.resolve_model(str(config))
    assert repr(asked(name, model=config)) == repr(asked(name, model=str(config)))
    assert repr(asked(name, model=config)) == repr(asked(name, model=spec))


def test_methods_are_one_text_or_a_list() -> None:
    text = rmtscale.compare_methods("gpt2", "full,rmt", 1000)
    assert rmtscale.compare_methods("gpt2", ["full", "rmt", "full"], 1000) == text
    assert rmtscale.compare_methods("gpt2", text.methods, 1000) == text
    with pytest.raises(BadInput, match="'mystery'"):
        rmtscale.compare_methods("gpt2", ["full", "mystery"], 1000)


@pytest.mark.parametrize("value", [0, -1, 1.5, None, "2", [], True])
def test_bytes_of_a_weight_are_a_whole_number(value: Any) -> None:
    with pytest.raises(BadInput, match=r"dtype bytes .*: expected a whole number of 1 or more"):
        rmtscale.weight_bytes("gpt2", value)
