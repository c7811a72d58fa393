"""``rmtscale report``: pictures and one offline page of measured records; two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import write_line, write_note, write_plain, write_text
from rmtscale.errors import BadInput
from rmtscale.files import require_writable, write_whole
from rmtscale.report.bundle import make_files
from rmtscale.report.document import Document, make_document, read_source
from rmtscale.report.text import csv_report, markdown_report
from rmtscale.steps import steps
from rmtscale.units import format_bytes, format_tokens, require_one_of

FORMATS = ("html", "markdown", "csv")


def command(
    records: Annotated[
        list[Path],
        typer.Argument(help="Files of records: parts of a sweep, or two runs to compare."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to; without it text is printed."),
    ] = None,
    output_format: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = "html",
    spreadsheet: Annotated[
        bool,
        typer.Option("--spreadsheet", help="csv: text that begins with = + - or @ is no formula."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Turns measured records into a verdict, figures and tables.

    Files are put together; two with points in common are compared, point by point.

    html: a folder with index.html (everything in it), the figures as PNG and SVG, and records.csv.
    markdown (for an issue) and csv (for pandas) are printed unless a folder is given.

    Example: rmtscale report build/gpt2.jsonl --out build/report
    """
    require_one_of("format", output_format, FORMATS)
    if output_format == "html" and out is None:
        raise BadInput("no --out: expected a folder for the page, or --format markdown or csv")
    if output_format != "csv":
        refuse_unread("with --format csv", "spreadsheet")
    if out is None:
        refuse_unread("with --out only, nothing is written", "force")
    name = "report.md" if output_format == "markdown" else "records.csv"
    if output_format != "html" and out is not None:
        require_writable([out / name], force=force)
    sources = [read_source(path) for path in steps(records, "reading records")]
    for source in sources:
        for warning in source.reading.warnings():
            write_note(f"warning: {source.name}: {warning}")
    document = make_document(sources)
    if output_format == "html":
        assert out is not None
        _write_folder(document, out, force=force)
        return
    text = (
        markdown_report(document)
        if output_format == "markdown"
        else csv_report(document, spreadsheet=spreadsheet)
    )
    if out is None:
        write_plain(text)
        return
    write_whole(out / name, text)
    write_line(f"written to {out / name}")


def _write_folder(document: Document, folder: Path, *, force: bool) -> None:
    make_files(document, folder, force=force)
    for verdict in document.verdicts:
        write_text(" ".join(verdict.sentences))
        write_line()
    page = folder / "index.html"
    write_line(
        f"{format_tokens(len(document.records))} records; {page} "
        f"({format_bytes(page.stat().st_size)})"
    )
