"""``rmtscale cite``: what the formulas and numbers come from."""

from __future__ import annotations

from typing import Annotated

import typer

from rmtscale.cli.output import FORMATS, write_line, write_rows, write_table
from rmtscale.references import REFERENCES
from rmtscale.units import require_one_of


def command(
    output_format: Annotated[
        str, typer.Option("--format", "-f", help="table, json, csv or bibtex.")
    ] = "table",
) -> None:
    """The papers behind the numbers, and which number each is behind.

    Example: rmtscale cite --format bibtex
    """
    require_one_of("format", output_format, (*FORMATS, "bibtex"))
    if output_format == "bibtex":
        write_line("\n\n".join(reference.bibtex() for reference in REFERENCES))
    elif output_format == "table":
        write_table(
            ["source", "arXiv", "used for"],
            [[item.key, item.arxiv or "", item.used_for] for item in REFERENCES],
            text_columns=2,
            prose=[2],
        )
    else:
        rows = [
            {
                "key": item.key,
                "authors": item.authors,
                "title": item.title,
                "venue": item.venue,
                "year": item.year,
                "arxiv": item.arxiv,
                "used_for": item.used_for,
            }
            for item in REFERENCES
        ]
        write_rows(rows, output_format)
