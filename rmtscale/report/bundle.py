"""The folder of a report: the page, its figures as files, its numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rmtscale.files import require_writable, write_whole
from rmtscale.report.document import Document
from rmtscale.report.gallery import EXHIBITS, draw_all
from rmtscale.report.page import render_page
from rmtscale.report.text import records_csv

NAMES = (
    "index.html",
    "records.csv",
    *(f"{exhibit.name}.{kind}" for exhibit in EXHIBITS for kind in ("png", "svg")),
)


def make_files(
    document: Document,
    folder: Path,
    *,
    force: bool,
    more: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Writes them all; a figure without data has no file, and one of an earlier run goes.

    Args:
        more: further files by name.

    Raises:
        BadInput: one is there already and ``force`` is not set, or cannot be written.
    """
    more = dict(more or {})
    names = [*NAMES, *more]
    require_writable([folder / name for name in names], force=force)
    pictures = draw_all(document.groups)
    contents = more | {
        "index.html": render_page(document, pictures).encode(),
        "records.csv": records_csv(document).encode(),
    }
    for picture in pictures:
        if picture.svg:
            contents |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    for name in names:
        if name in contents:
            write_whole(folder / name, contents[name])
        else:
            (folder / name).unlink(missing_ok=True)
    return contents
