"""The public names: there, documented, and no others."""

from __future__ import annotations

import doctest
import inspect

import pytest

import rmtscale


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
