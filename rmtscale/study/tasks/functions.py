"""Functions of this Python's standard library as statements and proofs; parsed, never imported.

The functions of a module and the methods of its classes, of every module that is one file. What
they call is looked up by name, as far as a name says what it is: a function of the same module, one
that was imported, a method of ``self``.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from rmtscale.errors import BadInput
from rmtscale.study.tasks.declaration import Declaration

_VALIDATION_SHARE = 0.1
"""Share of the files that are for validation."""
_OWN = ("self", "cls")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Found(NamedTuple):
    """A function as it stands in its file."""

    statement: str
    proof: str
    calls: list[str]
    """Full names, of functions or of whatever else."""
    file: str


@cache
def python_functions() -> tuple[Declaration, ...]:
    """Lists all of them in the order of their files; read once in a process.

    Raises:
        BadInput: an installation without the source of its library.
    """
    functions: dict[str, _Found] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for name, function in _functions(path):
            functions.setdefault(name, function)  # the setter of a property has its name
    if not functions:
        raise BadInput("declarations 'python': this Python came without the source of its library")
    places = {name: place for place, name in enumerate(functions)}
    declarations = []
    for name, (statement, proof, calls, file) in functions.items():
        uses = dict.fromkeys(places[call] for call in calls if call in places and call != name)
        declarations.append(
            Declaration(name, statement, proof, tuple(uses), file, _side_of_file(file))
        )
    return tuple(declarations)


def _side_of_file(file: str) -> str:
    """Chooses the split by a digest of the file's name, the same in every Python."""
    share = int.from_bytes(sha256(file.encode()).digest()[:4]) / 2**32
    return "validation" if share < _VALIDATION_SHARE else "train"


def _functions(path: Path) -> Iterator[tuple[str, _Found]]:
    """Yields the functions of a module by their full name; none where it cannot be parsed."""
    try:
        text = path.read_bytes().decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return
    lines = text.replace("\r\n", "\n").split("\n")
    imported = _imported(tree)
    for node in tree.body:
        owner = f"{path.stem}.{node.name}" if isinstance(node, ast.ClassDef) else path.stem
        for function in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(function, Function):
                statement, proof = _texts(lines, function)
                if proof:
                    calls = _calls(function, imported, path.stem, owner)
                    yield f"{owner}.{function.name}", _Found(statement, proof, calls, path.name)


def _imported(tree: ast.Module) -> dict[str, str]:
    """Finds what the names stand for that a module imports, anywhere in it."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
                else:  # import os.path makes the name os
                    names[alias.name.partition(".")[0]] = alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _body(function: Function) -> list[ast.stmt]:
    """Returns the statements after the docstring."""
    return function.body if ast.get_docstring(function) is None else function.body[1:]


def _first_line(statement: ast.stmt) -> int:
    """Returns the first line of a statement with its decorators; from 1."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(node.lineno for node in decorators)])


def _texts(lines: list[str], function: Function) -> tuple[str, str]:
    """Statement (signature and the first line of the docstring) and body.

    Both empty where there is no body, or none on lines of its own.
    """
    body, stop = _body(function), _first_line(function.body[0])
    if not body or stop == function.lineno:
        return "", ""
    statement = dedent("\n".join(lines[function.lineno - 1 : stop - 1])).strip()
    first_doc_line = (ast.get_docstring(function) or "").partition("\n")[0]
    if first_doc_line:
        statement += f'\n    """{first_doc_line}"""'
    proof = dedent("\n".join(lines[_first_line(body[0]) - 1 : function.end_lineno]))
    return statement, proof.strip("\n")


def _calls(function: Function, imported: dict[str, str], module: str, owner: str) -> list[str]:
    """Full names of what a body calls, in the order in which they are written."""
    calls = [
        (node.lineno, node.col_offset, _written(node.func))
        for statement in _body(function)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    ]
    names = []
    for _, _, (first, *rest) in sorted(call for call in calls if call[2]):
        if first in _OWN:
            names.append(".".join([owner, *rest]))
        elif first not in imported:
            names.append(".".join([module, first, *rest]))
        elif imported[first].rpartition(".")[2] == first:  # not by another name
            names.append(".".join([imported[first], *rest]))
    return names


def _written(node: ast.expr) -> list[str]:
    """``["a", "b"]`` of ``a.b``; nothing where it is not names alone."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []
