"""The sources of the package and of its tests, parsed once for all tests that look at them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import rmtscale

PACKAGE, TESTS = Path(rmtscale.__file__).parent, Path(__file__).parent


@cache
def parsed(folder: Path = PACKAGE) -> dict[str, ast.Module]:
    """Every module below a folder by its path there (``costs/plan.py``)."""
    return {
        path.relative_to(folder).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


_nodes: dict[int, tuple[ast.AST, tuple[ast.AST, ...]]] = {}
"""Of modules, by their id, each kept beside its nodes so that no other gets the id."""


def walk(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes of a tree; those of a module are gathered once, as walking takes the time."""
    if not isinstance(tree, ast.Module):
        return ast.walk(tree)
    if id(tree) not in _nodes:
        _nodes[id(tree)] = (tree, tuple(ast.walk(tree)))
    return _nodes[id(tree)][1]
