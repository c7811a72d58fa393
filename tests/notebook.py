"""Runs the cells of a notebook without Jupyter, and writes what they print back into it."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from rmtscale.tabular import Printed

EXAMPLE = Path(__file__).parents[1] / "docs" / "example.ipynb"


def read(path: Path = EXAMPLE) -> dict[str, Any]:
    """A notebook as it is stored."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run, in their order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of every cell, run one after another in one namespace."""
    names: dict[str, Any] = {}
    return [_outputs("".join(cell["source"]), names, at) for at, cell in _numbered(notebook)]


def _numbered(notebook: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return list(enumerate(code_cells(notebook), 1))


def _outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell prints, and the value of its last expression, as Jupyter keeps them."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append(
            {"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())}
        )
    if value is not None:
        data = {"text/plain": _lines(str(value))}
        if isinstance(value, Printed):
            data["text/html"] = _lines(value.html())
        outputs.append(
            {
                "data": data,
                "execution_count": number,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def fill(path: Path = EXAMPLE) -> None:
    """Writes the outputs of a notebook's cells into it."""
    notebook = read(path)
    for (number, cell), outputs in zip(_numbered(notebook), run(notebook), strict=True):
        cell["execution_count"], cell["outputs"] = number, outputs
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
