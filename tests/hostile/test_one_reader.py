"""One reader: no other module opens a file from outside and parses what is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.sources import PACKAGE, parsed, walk

PARSERS = {"json.load", "json.loads", "tomllib.load", "tomllib.loads", "gzip.open"}
OWN = {
    "readers.py": "it is the reader",
    "records/mapping.py": "a config that was read before, as text",
    "costs/layer_shape.py": "a config that was read before, as text",
    "profiler/subject.py": "a config that was read before, as text",
    "profiler/spawn.py": "an answer of our own child process",
    "profiler/child.py": "a question of our own parent process",
    "report/compare.py": "the key of a point that was read before",
    "rmt/description.py": "a config that was made in this process",
    "study/tasks/tokenizer.py": "a text that parse_tokenizer has read before",
}
"""Modules that parse, and what: nothing of it comes from outside unread."""


def calls(tree: ast.AST) -> Iterator[str]:
    """Yields the names of parsers that are called, as ``module.function``."""
    for node in walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            yield f"{node.func.value.id}.{node.func.attr}"


def parsing(root: Path) -> set[str]:
    """Modules of a package that parse JSON, TOML or archives themselves."""
    return {file for file, tree in parsed(root).items() if PARSERS & set(calls(tree))}


def test_only_the_reader_parses_what_comes_from_outside() -> None:
    assert parsing(PACKAGE) - set(OWN) == set()


def test_a_second_reader_is_seen(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("import json\nx = json.loads(open('x').read())\n")
    assert parsing(tmp_path) == {"other.py"}
