"""One HTML page with everything in it: opens from the disk, asks no network, runs no library."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rmtscale.report.document import CONVENTIONS, Document
from rmtscale.report.gallery import Picture
from rmtscale.report.summary import lead, summary
from rmtscale.report.tables import Table
from rmtscale.report.template import render

QUESTIONS = (
    ("Where does RMT win?", ("speed-up",), ("wins", "unequal", "ends")),
    ("What does it cost?", ("memory", "time", "per-token"), ()),
    (
        "How good are the predictions?",
        ("predicted-memory", "predicted-time", "terms"),
        (),
    ),
    ("How does it grow, and how busy is the machine?", ("exponents", "ceiling"), ("fits",)),
    ("What was measured, where and when?", (), ("points", "provenance", "environments")),
)
"""Questions of a reader, with the figures and tables that answer each, in the order of the page."""
HERO = "overview"
_SORTED = ("points", "provenance", "comparison", "fits", "ends", "wins")
"""Tables that can be sorted and filtered."""
_LINE_ENDS = re.compile(r"\s*\n\s*")
_CLAIMS = ("fail", "not measurable", "pass")
"""Outcomes of claims in the order of the page."""


def render_page(document: Document, pictures: Sequence[Picture]) -> str:
    """Returns the page; all that comes from a record is escaped."""
    tables = {table.name: table for table in document.tables}
    return render(
        "rmtscale.report",
        "page.html",
        title=document.title,
        asks_server=False,
        document=document,
        hero=next((picture for picture in pictures if picture.name == HERO), None),
        image=_image,
        described=_described,
        lead=lead(document.verdicts),
        rows=summary(document.verdicts),
        comparison=tables.get("comparison"),
        claims=sorted(document.claims, key=lambda claim: _CLAIMS.index(claim.outcome)),
        questions=[
            (
                title,
                [picture for picture in pictures if picture.name in figures],
                [tables[name] for name in names if name in tables],
            )
            for title, figures, names in QUESTIONS
        ],
        sortable=lambda table: table.name in _SORTED and len(table.rows) > 1,
        conventions=CONVENTIONS,
        numeric=_numeric,
    )


_ESCAPED = ("%", "#", "<", ">", '"', "'", "&")
"""Signs that would end an address or an attribute; first the one that the escapes begin with."""


def _image(picture: Picture) -> str:
    """Embeds an image, not a part of the page: its ids and styles stay separate.

    Its text is escaped, which is a sixth longer than the text; in base64 it would be a third.
    """
    address = _LINE_ENDS.sub(" ", picture.svg.decode())
    for sign in _ESCAPED:
        address = address.replace(sign, f"%{ord(sign):02X}")
    return f"data:image/svg+xml,{address.strip()}"


def _described(picture: Picture, document: Document) -> str:
    """Returns the words for a reader who does not see the figure; the tables hold its numbers."""
    names = "; ".join(group.name for group in document.groups[:4])
    return f"{picture.title}: {names}. {picture.caption} The numbers are in the tables below."


def _numeric(table: Table) -> list[bool]:
    """Columns that are numbers and stand on the right."""
    return [
        any(row[index].number is not None for row in table.rows)
        for index in range(len(table.columns))
    ]
