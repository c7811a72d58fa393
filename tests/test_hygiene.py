"""The tests themselves: each demands something, and none looks behind the package's doors."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.sources import TESTS, parsed, walk

DEMANDS = {"raises", "warns", "fail"}
HELPERS = ("check", "assert", "demand")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_names() -> set[str]:
    """Every private name that the package defines: functions, classes, constants, attributes."""
    names: set[str] = set()
    for tree in parsed().values():
        for node in walk(tree):
            if isinstance(node, Function | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
    return {name for name in names if private(name)}


def looks_behind(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Private names of the package that a file imports, reads, or names to ``setattr``."""
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rmtscale"):
            yield from (alias.name for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Attribute) and node.attr in names:
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own:
                yield node.attr
        elif isinstance(node, ast.Call) and called(node) in ("setattr", "getattr", "delattr"):
            yield from (
                given.value
                for given in node.args
                if isinstance(given, ast.Constant) and given.value in names
            )


def called(node: ast.Call) -> str:
    """The last part of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def demands(function: Function, helpers: frozenset[str] = frozenset()) -> bool:
    """Whether anything in a function can fail a test on purpose, itself or through a helper."""
    nodes = list(walk(function))
    calls = {called(node) for node in nodes if isinstance(node, ast.Call)}
    return (
        any(isinstance(node, ast.Assert) for node in nodes)
        or not calls.isdisjoint(DEMANDS | helpers)
        or any(name.startswith("assert_") for name in calls)
    )


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in walk(tree) if isinstance(node, Function))


def test_tests_use_public_names_only() -> None:
    names = private_names()
    assert "_docstrings" in names
    found = {file: sorted(looks_behind(tree, names)) for file, tree in parsed(TESTS).items()}
    assert {file: used for file, used in found.items() if used} == {}


def test_every_test_demands_something() -> None:
    files = parsed(TESTS)
    every = [(file, function) for file, tree in files.items() for function in functions(tree)]
    helpers = frozenset(
        function.name
        for _, function in every
        if function.name.split("_")[0] in HELPERS and demands(function)
    )
    idle = [
        f"{file}::{function.name}"
        for file, function in every
        if function.name.startswith("test_") and not demands(function, helpers)
    ]
    assert idle == []


@pytest.mark.parametrize(
    "source",
    [
        "from rmtscale.units import _si",
        "units._si(3)",
        "monkeypatch.setattr(units, '_si', None)",
    ],
)
def test_a_look_behind_is_seen(source: str) -> None:
    assert list(looks_behind(ast.parse(source), {"_si"})) == ["_si"]


def test_a_test_that_demands_nothing_is_seen() -> None:
    (function,) = functions(ast.parse("def test_x():\n    print(3)"))
    assert not demands(function)
