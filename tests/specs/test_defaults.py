"""One table of defaults: every command, function, dataclass and sweep has what it says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

import pytest

import rmtscale
from rmtscale import api
from rmtscale.cli.main import COMMANDS
from rmtscale.profiler import definition
from rmtscale.specs.defaults import DEFAULTS, EXCEPTIONS
from rmtscale.specs.devices import find_device

USUAL = {"h100": "bf16", "t4": "fp16"}

NOT_THE_COSTS = ("train", "evaluate", "dead-band", "attention", "reproduce")
"""Commands of the study: their settings are those of trainings, each with its own reason."""
ONLY_WHEN_GIVEN = ("profile",)
"""Its options replace what a sweep says, so none has a default of its own but that of the sweep."""
FOLLOWING = (("convention", ""), ("precision", ""), ("dtype", ""))
DATACLASSES = ("Workload", "Generation", "Recurrence")


def arguments(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            yield name, parameter.default


def places() -> Iterator[tuple[str, str, Any]]:
    """Every place with a default: its name, the option, and what it takes."""
    for command in COMMANDS:
        if command not in (*NOT_THE_COSTS, *ONLY_WHEN_GIVEN):
            module = import_module(f"rmtscale.cli.{command.replace('-', '_')}")
            for name, value in arguments(module.command):
                yield command, name, value
    for public in rmtscale.__all__:
        thing = getattr(rmtscale, public)
        if inspect.isfunction(thing):
            for name, value in arguments(thing):
                yield public, name, value
    for name in DATACLASSES:
        for field in fields(getattr(rmtscale, name)):
            if field.default is not MISSING:
                yield name, field.name, field.default
    for name, value in definition.DEFAULTS.items():
        yield "sweep", name, value


PLACES = [place for place in places() if place[1] in DEFAULTS]


def as_given(value: Any) -> Any:
    """Options are text: a number may be written as one, and nothing as an empty one."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return None if value == "" else value


@pytest.mark.parametrize(("where", "option", "value"), PLACES)
def test_a_default_is_that_of_the_table(where: str, option: str, value: Any) -> None:
    expected, _ = EXCEPTIONS.get((where, option), (DEFAULTS[option], ""))
    # A convention that is empty follows the method; for an RMT that is the table's. A precision
    # that is empty follows the device; without one it is the table's.
    if (option, value) not in FOLLOWING:
        assert as_given(value) == expected


def test_a_precision_follows_the_device(rmtscale: Callable[..., Any]) -> None:
    """bf16 everywhere, and fp16 wherever a device without bf16 is named: commands and functions."""
    asked = {
        "estimate": ("--tokens", "1k"),
        "memory": ("--tokens", "1k"),
        "plan": (),
        "generate-cost": ("--context", "1k", "--new-tokens", "10"),
    }
    with_precision = {where for where, option, value in PLACES if (option, value) in FOLLOWING[1:]}
    assert with_precision == {*asked, "compare"}
    for command, options in asked.items():
        for device, expected in USUAL.items():
            given = ("-m", "gpt2", *options, "-f", "json", "-d", device)
            row = json.loads(rmtscale(command, *given).out)["rows"][0]
            assert row.get("precision", row.get("dtype")) == expected, command
    for device, expected in USUAL.items():
        sweep = {"grid": [{"model": "gpt2", "tokens": 64, "device": "cuda"}]}
        points = definition.make_sweep(sweep, device=find_device(device)).points
        assert {point.precision for point in points} == {expected}
        asking = {"workload": 1000, "recurrence": 512, "device": device}
        for name in ("estimate_memory", "estimate_time", "make_plan"):
            function = getattr(api, name)
            assert function("gpt2", **asking) == function("gpt2", **asking, precision=expected)
        assert api.estimate("gpt2", device, 1000).question.work.precision == expected
        cost = api.estimate_generation("gpt2", 1000, device)
        assert cost == api.estimate_generation("gpt2", 1000, device, dtype=expected)
    for command in ("memory", "compare"):
        row = json.loads(rmtscale(command, "-m", "gpt2", "--tokens", "1k", "-f", "json").out)
        assert {one.get("precision", one.get("dtype")) for one in row["rows"]} == {"bf16"}


def test_every_place_is_walked() -> None:
    """The walk itself sees commands, functions, dataclasses and sweeps, and all exceptions."""
    walked = {(where, option) for where, option, _ in PLACES}
    assert set(EXCEPTIONS) <= walked
    assert {"flops", "memory", "plan", "generate-cost", "compare", "verify"} <= {
        where for where, _ in walked
    }
    assert {*DATACLASSES, "sweep", "estimate_flops"} <= {where for where, _ in walked}
    assert len(PLACES) > 60


def test_every_exception_has_a_reason_and_differs() -> None:
    for (_, option), (value, reason) in EXCEPTIONS.items():
        assert reason
        assert value != DEFAULTS[option]


def test_a_profile_says_the_defaults_of_its_sweeps() -> None:
    """The help of ``profile`` names defaults in words: those of the table."""
    from rmtscale.cli import profile

    for name, parameter in inspect.signature(profile.command, eval_str=True).parameters.items():
        words = str(getattr(parameter.annotation, "__metadata__", [None])[0].help)
        _, mark, default = words.partition("(default: ")
        if mark and name in DEFAULTS and name not in ("dropout", "bptt_segments"):
            assert default.rstrip(")") == str(DEFAULTS[name]), name
