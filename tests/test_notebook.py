"""The example notebook runs, and shows what its cells give."""

from __future__ import annotations

from tests import notebook


def test_the_cells_give_what_is_shown() -> None:
    stored = notebook.read()
    cells = notebook.code_cells(stored)
    assert len(cells) >= 6
    for cell, outputs in zip(cells, notebook.run(stored), strict=True):
        assert cell["outputs"] == outputs, "".join(cell["source"])
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_a_result_is_shown_as_a_table() -> None:
    shown = [
        output["data"]
        for cell in notebook.code_cells(notebook.read())
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    assert sum("<table>" in "".join(data.get("text/html", [])) for data in shown) >= 3


def test_a_cell_that_changed_is_seen() -> None:
    stored = notebook.read()
    first = notebook.code_cells(stored)[-1]
    first["source"] = ["1 + 1"]
    assert notebook.run(stored)[-1] != first["outputs"]
