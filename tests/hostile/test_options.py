"""Every option and argument of every command is given every bad text, and keeps the rule.

``make hostile`` gives all of them; a normal run gives each option its share, others at each option.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest

from rmtscale.cli.main import COMMANDS
from rmtscale.study.tasks.background import load_background
from tests.command_line import parser_of
from tests.hostile.rule import breach_of_command, built_once, tell
from tests.hostile.values import TEXTS, make_places
from tests.synthetic.cpu import cpu_point, cpu_record
from tests.tiny_training import tiny_settings, write_background

EVERYTHING = bool(os.environ.get("RMTSCALE_HOSTILE"))
_SHARE = 29

LINES = {
    "estimate": "--model=gpt2 --device=h200 --tokens=4k --mode=train",
    "flops": "--model=gpt2 --tokens=4k --mode=train",
    "memory": "--model=gpt2 --tokens=4k --mode=train --device=h200",
    "plan": "--model=gpt2 --device=h200 --segment-size=512 --mode=forward",
    "compare": "--model=gpt2 --tokens=4k --methods=full,rmt",
    "generate-cost": "--model=gpt2 --device=h200 --context=4k",
    "verify": "--model=pythia-14m --tokens=128 --segment-size=64",
    "profile": "--model=pythia-14m --tokens=512 --mode=train --device=cpu --precision=fp32 "
    "--dry-run",
    "calibrate": "{records}",
    "train": "--out=new --backbone=gpt-neox-tiny --background={background} --steps=1 "
    "--segment-size=32 --memory-tokens=2 --device=cpu",
    "evaluate": "{checkpoint} --samples=4 --segments=1 --background={background} --device=cpu",
    "dead-band": "{checkpoint} --samples=4 --segments=2 --background={background} --device=cpu",
    "attention": "{checkpoint} --segments=2 --background={background} --device=cpu",
    "reproduce": "figure-2 --out=new",
    "report": "{records} --format=csv",
    "models": "",
    "devices": "",
    "app": "--export=new/page.html --models=gpt2 --devices=h200",
    "cite": "",
}
"""A right line of each command; one option at a time is replaced."""
WORK = (
    "rmtscale.profiler.flop_check.check_flops",
    "rmtscale.study.training.loop._Run.go",
    "rmtscale.study.evaluation.evaluate._evaluate_length",
    "rmtscale.study.evaluation.memory_changes.measure_changes",
    "rmtscale.study.evaluation.attention_samples.story_sample",
    "rmtscale.study.figures.figure.Figure.make",
    "rmtscale.app.pages.static_page",
    "rmtscale.app.server.serve",
    "rmtscale.study.figures.field.page.comparison_files",
)
ONCE = (
    "rmtscale.study.training.memory_tasks.checkpoint.load_checkpoint",
    "rmtscale.study.training.device.open_meter",
)
"""What takes long and is the same for equal arguments: a checkpoint, a meter of memory."""
"""Where the work of a line begins: whatever comes here was accepted."""


def accepted(*_: Any, **__: Any) -> NoReturn:
    """Stands in the place of the work."""
    raise SystemExit(0)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the good and the bad files are."""
    import rmtscale.profiler.fallback  # noqa: F401  (loads torch, which takes its seconds)
    from rmtscale.study.training.loop import train

    if EVERYTHING:  # the word ``python`` is right in places, and its library takes seconds to read
        load_background("python", "train")
    folder = tmp_path_factory.mktemp("outside")
    background = write_background(folder / "background")
    settings = tiny_settings(background, steps=4, validation_samples=1)
    train(settings, folder / "training", device="cpu")
    records = folder / "records.jsonl"
    points = [cpu_point(tokens=tokens) for tokens in (64, 128)]
    records.write_text("".join(f"{cpu_record(point).to_line()}\n" for point in points), "utf-8")
    return make_places(folder) | {
        "background": str(background),
        "checkpoint": str(folder / "training" / "last"),
        "records": str(records),
    }


@pytest.fixture(autouse=True)
def no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stops every line where its work begins; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with ExitStack() as stack, built_once():
        for name in WORK:
            stack.enter_context(mock.patch(name, accepted))
        for name in ONCE:
            module, _, function = name.rpartition(".")
            real = getattr(import_module(module), function)
            stack.enter_context(mock.patch(name, cache(real)))
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
