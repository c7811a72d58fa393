"""Text every Python has: docstrings of the standard library and the topics of ``help()``.

Files are parsed, never imported. One module is one document.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from rmtscale.errors import BadInput

_LEAST_CHARACTERS = 1000
"""Length of the docstrings of a module that counts as a document."""
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def library_texts() -> tuple[str, ...]:
    """Reads the docstrings of each module of the standard library, and Python's help topics."""
    library = Path(sysconfig.get_path("stdlib"))
    texts = [
        _docstrings(path)
        for path in sorted(library.rglob("*.py"))
        if not _LEFT_OUT.intersection(path.relative_to(library).parts)
    ]
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
    docstrings = [
        ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)
    ]
    return "\n\n".join(text for text in docstrings if text)
