"""What the README and the pages in ``docs/`` take from the code is what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rmtscale.cli.main import COMMANDS
from tests.command_line import Command
from tests.generated_docs import PAGES, ROOT, fill_made, fill_shown, shown_commands
from tests.meta_shapes import RememberedShapes

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARE = r"[\d.]+(?= and [\d.]+ %| to [\d.]+ %| %)"
"""A share in per cent, or one of two."""
SHARES = ("accuracy.md", "study.md", "many-gpus.md")
"""The pages whose shares are held against the records."""
SHOWN = [
    pytest.param(page, line, id=f"{page.name}: {line}")
    for page in PAGES
    for line, _ in shown_commands(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_counts_and_tables_are_those_of_the_code(page: Path) -> None:
    """Making them again changes nothing; ``make docs`` makes them."""
    text = page.read_text(encoding="utf-8")
    assert fill_made(text) == text


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_shown_output_is_real(page: Path, line: str, rmtscale: Command) -> None:
    """Running the command again changes nothing; ``make docs`` writes what it prints."""
    with RememberedShapes():
        printed = rmtscale(*shlex.split(line)).out
    (shown,) = (
        match[0]
        for match in re.finditer(r"```console\n.*?```", page.read_text(encoding="utf-8"), re.S)
        if match[0].startswith(f"```console\n$ rmtscale {line}\n")
    )
    assert fill_shown(shown, lambda _: printed) == shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_counts_stand_inside_a_line(page: Path) -> None:
    """A line that begins with a comment is HTML to Markdown, and loses its paragraph."""
    for line in page.read_text(encoding="utf-8").splitlines():
        assert not re.match(r" *<!-- made: [a-z-]+ -->.", line), line


def test_a_stale_page_is_noticed() -> None:
    stale = "<!-- made: presets -->0<!-- /made --> presets\n```console\n$ rmtscale cite\nold\n```"
    assert fill_made(stale) != stale
    assert fill_shown(stale, lambda _: "new\n").endswith("$ rmtscale cite\nnew\n```")


def test_every_command_is_in_the_table() -> None:
    assert re.findall(r"^\| `rmtscale ([a-z-]+)` \|", README, flags=re.M) == list(COMMANDS)


def test_its_shares_are_those_of_the_pages() -> None:
    written = re.sub(r"```.*?```", "", README, flags=re.S)
    stated = set(re.findall(SHARE, written))
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in SHARES)
    assert {"0.8", "18.8", "6", "13", "73.0", "53.5"} <= stated
    assert stated <= set(re.findall(r"[\d.]+(?=(?:, [\d.]+)* ?%| %| to [\d.]+ %)", pages))
    (exact,) = re.findall(r"\[(\d+) are exact\]", README)
    models = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"{exact} of them with exactly its parameters" in models


def test_the_readme_is_short() -> None:
    assert len(README.encode()) < 10_240


def test_it_links_to_the_list_of_all_pages() -> None:
    """Which ``tests/test_docs_site.py`` holds."""
    assert "](docs/README.md)" in README
