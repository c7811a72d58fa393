"""The README is true: its file map, its commands and the output it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from rmtscale.cli.main import COMMANDS
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import DEVICES
from tests.command_line import Command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ rmtscale ([^\n]*)\n(.*?)```", README, flags=re.S)


def test_the_file_map_is_the_tree() -> None:
    section = README.split("### File map")[1]
    listed = set(re.findall(r"^\| `([^`]+)` \|", section, flags=re.M))
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "rmtscale").rglob("*.py")
        if path.name != "__init__.py" or path.parent.name == "rmtscale"
    }
    assert listed == there


def test_the_file_map_says_what_each_file_says() -> None:
    """The map's words are the first line of the file's own docstring."""
    section = README.split("### File map")[1]
    for name, words in re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, flags=re.M):
        first = (ROOT / name).read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        assert words == first


def test_every_command_is_in_the_table() -> None:
    assert re.findall(r"^\| `rmtscale ([a-z-]+)` \|", README, flags=re.M) == list(COMMANDS)


@pytest.mark.parametrize(("line", "output"), SHOWN)
def test_shown_output_is_real(rmtscale: Command, line: str, output: str) -> None:
    done = rmtscale(*shlex.split(line))
    shown = [text.rstrip() for text in output.strip("\n").splitlines()]
    real = [text.rstrip() for text in done.out.strip("\n").splitlines()]
    assert shown == real


def test_counts() -> None:
    assert f"{len(PRESETS)} presets" in README
    assert f"{len(DEVICES)} GPUs" in README
    assert len(SHOWN) == 5


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, flags=re.S))
def test_the_python_examples_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert {"model", "work"} <= set(names) or {"loss", "state", "new", "again"} <= set(names)
