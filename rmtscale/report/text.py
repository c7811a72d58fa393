"""A report as text: Markdown for an issue, CSV for pandas."""

from __future__ import annotations

from rmtscale.records.record import Record
from rmtscale.report.claims import claims_table
from rmtscale.report.document import Document
from rmtscale.report.predictions import peak_now, seconds_now
from rmtscale.report.tables import comparison_rows
from rmtscale.tabular import csv_text

_SHORT = ("comparison", "wins", "ends", "points", "fits", "environments")


def markdown_report(document: Document) -> str:
    """Returns verdict, claims and tables as Markdown; origins of points are in the page only."""
    parts = [f"# {document.title}"]
    parts += [
        "\n".join(f"* {sentence}" for sentence in verdict.sentences)
        for verdict in document.verdicts
    ]
    if document.claims:
        parts += ["## What the paper claims", claims_table(list(document.claims))]
        parts += document.differences
    parts += ["\n".join(f"* {remark}" for remark in document.remarks)] * bool(document.remarks)
    tables = {table.name: table for table in document.tables}
    for name in _SHORT:
        if name in tables:
            parts += [f"## {tables[name].title}", tables[name].markdown()]
    return "\n\n".join(parts) + "\n"


def csv_report(document: Document, *, spreadsheet: bool = False) -> str:
    """Returns every record as plain numbers, or the comparison of two files."""
    if document.comparison is not None:
        return csv_text(comparison_rows(document.comparison), spreadsheet=spreadsheet)
    return records_csv(document, spreadsheet=spreadsheet)


def _predicted_now(record: Record) -> dict[str, float | None]:
    """Returns what the formulas of today say; other predictions are from before the measurement."""
    peak, seconds = peak_now(record), seconds_now(record)
    return {
        "predicted_now_peak_bytes": None if peak is None else int(peak.least),
        "predicted_now_least_seconds": None if seconds is None else seconds.least,
        "predicted_now_most_seconds": None if seconds is None else seconds.most,
    }


def records_csv(document: Document, *, spreadsheet: bool = False) -> str:
    """Returns every record as plain numbers, with the file it is from.

    Args:
        document: of the records.
        spreadsheet: no cell is taken for a formula.
    """
    return csv_text(
        (
            {"file": source.name, **record.to_row(), **_predicted_now(record)}
            for source in document.sources
            for record in source.reading.records
        ),
        spreadsheet=spreadsheet,
    )
