"""The rule for commit messages, and the hooks that hold it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "commit_subject.py"
LONG = "Docs: " + "a" * 66


def check(message: str, folder: Path) -> tuple[int, str]:
    """Exit code and errors of the hook for a message."""
    file = folder / "COMMIT_EDITMSG"
    file.write_text(message, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, file], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "message",
    [
        "Docs: add a page about words\n\nNewcomers asked for it.\n",
        "Study: move tasks, training and figures into a wing of their own",
        "Costs, specs: process every kind in one table",
        "Report: bring back the legend",
        LONG,
        "# a comment of git's\nTests: run every command the pages show\n# another\n",
        "Merge branch 'docs'",
        'Revert "Docs: add a page"',
    ],
)
def test_what_keeps_the_rule_passes(message: str, tmp_path: Path) -> None:
    assert check(message, tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "expected 'Area: imperative'"),
        ("add a page", "expected 'Area: imperative'"),
        ("docs: add a page", "expected 'Area: imperative'"),
        ("Docs:add a page", "expected 'Area: imperative'"),
        ("Docs: added a page", "expected an imperative"),
        ("Docs: adds a page", "expected an imperative"),
        ("Docs: adding a page", "expected an imperative"),
        ("Docs: add a page.", "full stop"),
        (LONG + "a", "73 characters, expected at most 72"),
        ("Docs: add a page\nbecause", "empty line"),
    ],
)
def test_what_breaks_the_rule_is_named(message: str, said: str, tmp_path: Path) -> None:
    code, errors = check(message, tmp_path)
    assert code == 1
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(("message", "code"), [("Docs: add a page", 0), ("Docs: added a page", 1)])
def test_a_message_on_standard_input(message: str, code: int) -> None:
    done = subprocess.run([sys.executable, SCRIPT], input=message, text=True, capture_output=True)
    assert (done.returncode, bool(done.stderr)) == (code, bool(code))


def test_the_hooks_run_what_is_there() -> None:
    """Each from the project's environment, by a tool that pyproject.toml or the tree has."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^ +entry: \.venv/bin/(.+)$", text, flags=re.M)
    assert [entry.split()[0] for entry in entries] == ["ruff", "ruff", "mypy", "python"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"ruff>=' in project
    assert '"mypy>=' in project
    assert (ROOT / entries[-1].split()[1]) == SCRIPT
