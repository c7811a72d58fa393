"""The docs site: every page is in it, its links hold there, and it needs no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import docs_site
from tests.docs_site import ALL_PAGES, CONTENTS, local_links, navigation, place
from tests.generated_docs import PAGES, ROOT
from tests.test_docs import anchors, prose


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    docs_site.write_site(folder)
    return folder


def listed(groups: list[dict[str, Any]]) -> Iterator[str]:
    """The files of a navigation, groups opened."""
    for group in groups:
        for found in group.values():
            yield from [found] if isinstance(found, str) else listed(found)


def test_every_page_is_in_the_navigation() -> None:
    """But for the READMEs below ``tried`` and ``checkpoints``, and the lists of runs, which reports
    link to."""
    below = {"tried", "checkpoints", "runs.md"}
    pages = {place(page).as_posix() for page in ALL_PAGES if not below & set(page.parts)}
    found = list(listed(navigation()))
    assert pages | {"docs/example.md"} == set(found)
    assert len(found) == len(set(found))
    groups = [name for group in navigation() for name in group]
    assert groups[:4] == ["rmtscale", "Start here", "How to", "Explanation"]


def test_the_contents_page_says_what_is_where() -> None:
    for page in PAGES[2:]:
        assert page == CONTENTS or page in {file for _, file in local_links(CONTENTS)}, page.name


def test_links_are_of_files() -> None:
    """A folder has no page on the site."""
    wrong = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in ALL_PAGES
        for target, file in local_links(page)
        if not file.is_file()
    ]
    assert wrong == []


def test_links_hold_on_the_site(site: Path) -> None:
    pages = sorted((site / "pages").rglob("*.md"))
    assert len(pages) == len(ALL_PAGES) + 1
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            path, _, anchor = target.partition("#")
            if re.match(r"https?:", target):
                continue
            there = (page.parent / path).resolve() if path else page
            assert there.is_file(), (page, target)
            assert there.is_relative_to(site), (page, target)
            assert not anchor or anchor in anchors(there), (page, target)


def test_a_page_of_a_report_has_another_name() -> None:
    """MkDocs gives the README beside it the name that it has."""
    report = ROOT / "reports" / "figure-10"
    assert place(report / "index.html") == Path("reports/figure-10/report.html")
    assert "](report.html)" in docs_site.page_text(report / "README.md")
    assert "](index.html)" not in docs_site.page_text(report / "README.md")
    assert place(ROOT / "reports/nvidia-h200/index.html").name == "index.html"


def test_the_notebook_is_a_page(site: Path) -> None:
    text = (site / "pages" / "docs" / "example.md").read_text(encoding="utf-8")
    assert "```python\nimport rmtscale\n```" in text
    assert "Does not fit: needs" in text


@pytest.mark.skipif(find_spec("material") is None, reason="needs the docs extra: make docs-site")
def test_it_is_built_and_asks_no_network(site: Path) -> None:
    settings = str(site / "mkdocs.yml")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", settings]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (site / "site").rglob("*.html"):
        assert outside(page.read_text(encoding="utf-8")) == [], page


def outside(page: str) -> list[str]:
    """What a page loads from elsewhere: scripts, pictures, styles, fonts."""
    loads = r"<(?:script|img|source|iframe)[^>]* src|<link[^>]* href"
    return re.findall(rf"(?:{loads})=[\"']?(?:https?:)?//[^\"' >]*", page)


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    assert outside('<script src="https://unpkg.com/shim"></script>')
    assert outside('<link rel=stylesheet href="//fonts.example/x.css">')
    assert not outside('<a href="https://arxiv.org/abs/2304.11062">paper</a><img src="x.png">')


def test_settings_are_the_committed_ones(site: Path) -> None:
    settings = json.loads((site / "mkdocs.yml").read_text(encoding="utf-8"))
    assert Path(settings["INHERIT"]) == ROOT / "mkdocs.yml"
    committed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in committed
    assert "nav:" not in committed
