"""The folder of a report: the page, its figures as files, its numbers as CSV."""

from __future__ import annotations

from pathlib import Path

from rmtscale.files import require_writable, write_all
from rmtscale.report.document import Document
from rmtscale.report.gallery import EXHIBITS, draw_all
from rmtscale.report.page import render_page
from rmtscale.report.text import records_csv

NAMES = (
    "records.csv",
    *(f"{exhibit.name}.{kind}" for exhibit in EXHIBITS for kind in ("png", "svg")),
    "index.html",
)


def make_files(document: Document, folder: Path, *, force: bool) -> None:
    """Writes the whole folder; a figure without data has no file.

    Raises:
        BadInput: a file is there already and ``force`` is not set, or cannot be written.
    """
    require_writable([folder / name for name in NAMES], force=force)
    write_all(folder, file_contents(document), force=force)


def file_contents(document: Document) -> dict[str, bytes | None]:
    """Returns the files of a report by name; None is a figure without data."""
    pictures = draw_all(document.groups)
    contents = dict.fromkeys(NAMES) | {
        "index.html": render_page(document, pictures).encode(),
        "records.csv": records_csv(document).encode(),
    }
    for picture in pictures:
        if picture.svg:
            contents |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    return contents
