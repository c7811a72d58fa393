"""Text every Python has: docstrings of the standard library and the topics of ``help()``.

Files are parsed, never imported. One module is one document.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from rmtscale.errors import BadInput

_LEAST_CHARACTERS = 1000
"""Length of the docstrings of a module that counts as a document."""
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = {"body", "handlers", "orelse", "finalbody", "cases"}
"""Fields of statements that hold other statements."""


@cache
def library_texts() -> tuple[str, ...]:
    """Reads the docstrings of each module of the standard library, and Python's help topics."""
    library = Path(sysconfig.get_path("stdlib"))
    texts = [_docstrings(path) for path in sorted(_sources(library))]
    with suppress(ImportError):  # some small installations leave them out
        texts += import_module("pydoc_data.topics").topics.values()
    return tuple(text for text in texts if len(text) >= _LEAST_CHARACTERS)


def python_documents() -> list[str]:
    """Lists all of them; read once in a process.

    Raises:
        BadInput: an installation without the source of its library.
    """
    documents = list(library_texts())
    if len(documents) < 2:
        raise BadInput("text 'python': this Python came without text, expected a folder")
    return documents


def _sources(library: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(library):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield from (Path(folder) / name for name in files if name.endswith(".py"))


def _docstrings(path: Path) -> str:
    try:
        source = path.read_bytes()
    except OSError:
        return ""
    if len(source) < _LEAST_CHARACTERS or b'"""' not in source:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    docstrings = [ast.get_docstring(node) for node in documented(tree)]
    return "\n\n".join(text for text in docstrings if text)


def documented(
    tree: ast.Module,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yields what may have a docstring, in the order of ``ast.walk``, from statements alone."""
    waiting = deque[ast.AST]([tree])
    while waiting:
        node = waiting.popleft()
        if isinstance(node, _DOCUMENTED):
            yield node
        for field in node._fields:
            if field in _BLOCKS:
                waiting.extend(getattr(node, field))
