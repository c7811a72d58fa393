"""Every option and argument of every command is given every bad text, and keeps the rule.

``make hostile`` gives all of them; a normal run gives each option its share, others at each option.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmtscale.cli.main import COMMANDS
from rmtscale.study.tasks.background import load_background
from tests.command_line import parser_of
from tests.hostile.lines import LINES, make_right, stopped
from tests.hostile.rule import breach_of_command, tell
from tests.hostile.values import TEXTS, make_places

EVERYTHING = bool(os.environ.get("RMTSCALE_HOSTILE"))
_SHARE = 29


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the good and the bad files are."""
    if EVERYTHING:  # the word ``python`` is right in places, and its library takes seconds to read
        load_background("python", "train")
    folder = tmp_path_factory.mktemp("outside")
    return make_places(folder) | make_right(folder)


@pytest.fixture(autouse=True)
def no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stops every line where its work begins; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with stopped():
        yield


def lines_of(command: str, places: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yields what is tried, and the line."""
    words = LINES[command].format(**places).split()
    for param in parser_of(command).params:
        option = param.opts[0]
        if getattr(param, "is_flag", False):
            continue
        for number, template in enumerate(TEXTS):
            place = zlib.crc32(f"{command} {option}".encode()) + number
            if not EVERYTHING and place % _SHARE:
                continue
            text = template
            for name, where in places.items():
                text = text.replace(f"{{{name}}}", where)
            if param.param_type_name == "argument":
                rest = [word for word in words if word.startswith("-")]
                line = [command, *rest, "--", text]
            else:
                rest = [word for word in words if not word.startswith(f"{option}=")]
                line = [command, *rest, f"{option}={text}"]
            yield f"{command} {option} {text[:40]!r}", line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_refuses_or_answers(
    command: str, places: dict[str, str], tmp_path: Path
) -> None:
    found: dict[str, str] = {}
    for name, line in lines_of(command, places):
        breach = breach_of_command(line, tmp_path)
        if breach:
            found[name] = breach
    assert not found, tell(found)


def test_there_are_enough_bad_values() -> None:
    assert len(set(TEXTS)) == len(TEXTS) >= 60
    assert set(LINES) == set(COMMANDS)
