"""Every source that a docstring names is in the list, and every one in the list is used."""

from __future__ import annotations

import re
from pathlib import Path

import rmtscale
from rmtscale.references import REFERENCES


def test_what_docstrings_cite_can_be_printed() -> None:
    known = {reference.key for reference in REFERENCES}
    texts = [
        path.read_text(encoding="utf-8") for path in Path(rmtscale.__file__).parent.rglob("*.py")
    ]
    cited = {
        " ".join(match.split())
        for text in texts
        for match in re.findall(r"[A-Z][a-z]+\s+et\s+al\.\s+\d{4}", text)
    }
    assert cited <= known
    assert len(known) == len(REFERENCES)


def test_bibtex() -> None:
    entry = next(item for item in REFERENCES if item.key == "Hoffmann et al. 2022").bibtex()
    assert entry.startswith("@article{hoffmann2022,\n")
    assert "  eprint = {2203.15556}," in entry
    assert entry.count("{") == entry.count("}")
