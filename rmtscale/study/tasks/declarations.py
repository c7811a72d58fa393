"""Statements with their proofs and the lemmas that these use: of a file, or of this Python.

========================  ==================================================================
``python``                functions of the standard library: what a function is said to do is
                          the statement, its body the proof, the functions it calls its lemmas
a ``.jsonl``, ``.jsonl.gz``   each line a declaration (Lean, Coq, ...) with the fields of
                          ``Declaration``; ``uses`` are line numbers, from 0
========================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.readers import parse_json, read_lines
from rmtscale.study.tasks.background import require_encodable
from rmtscale.study.tasks.declaration import SPLITS, Declaration
from rmtscale.study.tasks.functions import python_functions

DEFAULT = "python"
_LINES = (".jsonl.gz", ".jsonl")
_TEXTS = ("name", "statement", "proof", "file", "split")


def load_declarations(source: str = DEFAULT) -> tuple[Declaration, ...]:
    """Lists all declarations of a source, of every split.

    Raises:
        BadInput: no such source, a line that is no declaration, or a use of one that is not there.
    """
    if source == DEFAULT:
        return python_functions()
    path = Path(source)
    if not (path.is_file() and path.name.endswith(_LINES)):
        raise BadInput(
            f"declarations {source!r}: expected python, or a .jsonl or .jsonl.gz file of them"
        )
    declarations = tuple(_read(path))
    for number, declaration in enumerate(declarations, 1):
        for use in declaration.uses:
            if use >= len(declarations):
                raise BadInput(
                    f"declarations {source!r}, line {number}: uses {use}, expected less than "
                    f"{len(declarations)}, the lines there are"
                )
    _require_whole_files(declarations, source)
    return declarations


def _read(path: Path) -> Iterator[Declaration]:
    named = f"declarations {str(path)!r}"
    for place, line in enumerate(read_lines(path, named)):
        yield _declaration(line, place, f"{named}, line {place + 1}")


def _declaration(line: str, place: int, where: str) -> Declaration:
    record = parse_json(line, where)
    if not isinstance(record, dict):
        raise BadInput(f"{where}: expected an object")
    for name in _TEXTS:
        if not isinstance(record.get(name), str):
            raise BadInput(f"{where}: expected a field {name!r} with a text")
        require_encodable(record[name], where)
    if record["split"] not in SPLITS:
        raise BadInput(f"{where}: split {record['split']!r}, expected one of {', '.join(SPLITS)}")
    uses = record.get("uses")
    if not isinstance(uses, list) or not all(type(use) is int and use >= 0 for use in uses):
        raise BadInput(f"{where}: expected a field 'uses' with line numbers")
    if place in uses or len(set(uses)) != len(uses):
        raise BadInput(f"{where}: expected uses of other lines, each once")
    return Declaration(
        record["name"],
        record["statement"],
        record["proof"],
        tuple(uses),
        record["file"],
        record["split"],
    )


def _require_whole_files(declarations: Iterable[Declaration], source: str) -> None:
    """Two proofs of one file share too much to be on two sides."""
    splits: dict[str, str] = {}
    for number, declaration in enumerate(declarations, 1):
        split = splits.setdefault(declaration.file, declaration.split)
        if split != declaration.split:
            raise BadInput(
                f"declarations {source!r}, line {number}: split {declaration.split!r}, expected "
                f"{split!r} as in the lines before of the same file"
            )
