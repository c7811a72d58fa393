"""Whatever is mistyped has one hint: two libraries, and we, know of names that are near."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rmtscale.cli.main import COMMANDS
from rmtscale.specs.catalog import PRESETS
from tests.command_line import Command, parser_of
from tests.hostile.rule import built_once

HINT = re.compile(r"did you mean", re.IGNORECASE)


@pytest.fixture(autouse=True, scope="module")
def one_parser() -> Iterator[None]:
    with built_once():
        yield


def slips(name: str) -> Iterator[str]:
    """A letter left out, two that changed places, one too many."""
    yield name[:-1]
    yield name[:-2] + name[-1] + name[-2]
    yield f"{name}e"


def hints(told: str) -> list[str]:
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    return HINT.findall(told)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(rmtscale: Command, name: str) -> None:
    for typed in slips(name):
        if typed in COMMANDS or typed == name:
            continue
        done = rmtscale(typed)
        assert done.code == 2
        assert done.err.startswith(f"error: command {typed!r}: did you mean ")
        assert len(hints(done.err)) == 1
        hint, expected = done.err.split("? expected one of ")
        assert name in re.findall(r"[\w-]+", hint.split("did you mean ")[1])
        assert expected.rstrip("\n") == ", ".join(COMMANDS)


def test_a_command_that_is_near_to_none(rmtscale: Command) -> None:
    for line in (("xyz",), ("--", "xyz"), ("xyz", "--tokens", "4k"), ("gpt2",)):
        done = rmtscale(*line)
        assert done.code == 2
        assert not hints(done.err)
        assert f"expected one of {', '.join(COMMANDS)}\n" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_of_each_command(rmtscale: Command, command: str) -> None:
    names = [max(one.opts, key=len) for one in parser_of(command).params]
    for name in names:
        if name.startswith("--") and f"{name}e" not in names:
            done = rmtscale(command, f"{name}e", "x")
            assert done.code == 2
            assert len(hints(done.err)) == 1, done.err


def test_a_name(rmtscale: Command) -> None:
    preset = next(iter(PRESETS))
    for line in (
        f"flops -m {preset}x",
        "plan -m gpt2 -d a100-90gb",
        "flops -m gpt2 --method mambo",
    ):
        done = rmtscale(*line.split())
        assert done.code == 2
        assert len(hints(done.err)) == 1, done.err
