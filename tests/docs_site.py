"""Lays the pages out for the docs site, in the folders that they have here. ``make docs-site``.

Every page and whatever a page links to is copied, so that links need no change but two: a notebook
becomes a page, and an ``index.html`` beside a README (whose page has that name) becomes another.
The navigation is what ``docs/README.md`` lists: a heading is a group, a line its first link.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import notebook
from tests.generated_docs import PAGES, ROOT

CONTENTS = ROOT / "docs" / "README.md"
PLAY = "play.html"
"""The page to play with, which no page here can link to: it is made with the site."""
ALL_PAGES = (
    *PAGES,
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "profiles" / "README.md",
    *sorted((ROOT / "reports").rglob("*.md")),
)
"""Every page whose links are followed; those under reports/ are mostly made by commands."""
SITE = ROOT / "build" / "docs-site"
_FENCED = re.compile(r"^```.*?^```$", flags=re.S | re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_GROUP = re.compile(r"^## (.+)$|^\* \[([^\]]+)\]\(([^)\s]+)\)", flags=re.M)


def local_links(page: Path) -> Iterator[tuple[str, Path]]:
    """The links of a page to files, outside of code blocks: as written, and the file."""
    for target in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        path = target.partition("#")[0]
        if path and not re.match(r"https?:", target):
            yield target, (page.parent / path).resolve()


def place(file: Path) -> Path:
    """Where a file lies on the site, relative to its root."""
    if file.suffix == ".ipynb":
        file = file.with_suffix(".md")
    if file.name == "index.html" and file.with_name("README.md").exists():
        file = file.with_name("report.html")
    return file.relative_to(ROOT)


def page_text(page: Path) -> str:
    """A page with the names that its links have on the site."""
    text = page.read_text(encoding="utf-8")
    for target, file in local_links(page):
        name = place(file).name
        if file.name != name:
            text = text.replace(f"]({target})", f"]({target.replace(file.name, name)})")
    return text


def notebook_text(path: Path) -> str:
    """A notebook as a page: text, code, and what each cell printed."""
    parts = []
    for cell in notebook.read(path)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            printed = output.get("text") or output["data"]["text/plain"]
            parts.append(f"```text\n{''.join(printed).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def navigation() -> list[dict[str, Any]]:
    """The groups of pages in the order of the contents page."""
    groups: list[dict[str, Any]] = [{"rmtscale": "README.md"}]
    pages: list[dict[str, str]] = []
    for heading, title, target in _GROUP.findall(CONTENTS.read_text(encoding="utf-8")):
        if heading:
            pages = [{"All pages": place(CONTENTS).as_posix()}] if len(groups) == 1 else []
            groups.append({heading: pages})
        else:
            file = place((CONTENTS.parent / target).resolve())
            pages.append({title: file.as_posix()})
    return groups


def write_site(folder: Path, *, play: bool = False) -> None:
    """Writes the pages, what they link to, and the settings of MkDocs with the navigation.

    Args:
        play: whether the page to play with is there too, which ``rmtscale app --export`` makes.
    """
    pages = folder / "pages"
    for page in ALL_PAGES:
        for _, file in local_links(page):
            if file not in ALL_PAGES:
                _write(pages / place(file), file)
        _write(pages / place(page), page)
    inherited = {"INHERIT": str(ROOT / "mkdocs.yml"), "docs_dir": "pages", "site_dir": "site"}
    first, *rest = navigation()
    nav = [first, *([{"Play with it": PLAY}] if play else []), *rest]
    (folder / "mkdocs.yml").write_text(json.dumps({**inherited, "nav": nav}, indent=1))


def _write(target: Path, file: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".ipynb":
        target.write_text(notebook_text(file), encoding="utf-8")
    elif file in ALL_PAGES:
        target.write_text(page_text(file), encoding="utf-8")
    else:
        shutil.copyfile(file, target)


def main() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    write_site(SITE, play=True)
    exported = ("-m", "rmtscale", "app", "--export", str(SITE / "pages" / PLAY))
    subprocess.run([sys.executable, *exported], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
