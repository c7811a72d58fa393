"""Docstrings are sentences that say what a thing is or does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.sources import parsed, walk

RIDDLE = re.compile(r"(Of|By|As|What|The same)\b")
"""Beginnings that leave the subject to be guessed."""


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and texts of all docstrings, those of attributes included."""
    for node in walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value.strip()


def riddles(tree: ast.Module) -> list[tuple[int, str]]:
    """Docstrings whose first words do not say what is described."""
    return [(line, text) for line, text in docstrings(tree) if RIDDLE.match(text)]


def test_no_docstring_is_a_riddle() -> None:
    assert [
        f"{file}:{line}: {text.splitlines()[0]}"
        for file, tree in parsed().items()
        for line, text in riddles(tree)
    ] == []


def test_a_riddle_is_seen() -> None:
    source = '"""A module."""\nclass A:\n    """Of what?"""\n    b: int\n    """By whom."""\n'
    assert riddles(ast.parse(source)) == [(3, "Of what?"), (5, "By whom.")]
