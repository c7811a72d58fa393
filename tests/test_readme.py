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


def test_its_errors_are_those_of_the_page_on_accuracy() -> None:
    """Which ``tests/test_measured.py`` holds against the records."""
    section = README.split("## Where the numbers come from")[1]
    accuracy = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    stated = set(re.findall(r"[\d.]+ %", section))
    assert len(stated) == 4
    assert stated <= set(re.findall(r"[\d.]+ %", accuracy))


def test_the_readme_is_short() -> None:
    assert len(README.encode()) < 15_000


def test_every_page_is_linked_from_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"]({page.relative_to(ROOT)})" in README, page.name
