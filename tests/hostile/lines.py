"""Right lines of every command, and where the work of each begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from rmtscale.study.training.loop import train
from tests.hostile.rule import built_once
from tests.synthetic.cpu import cpu_point, cpu_record
from tests.tiny_training import tiny_settings, write_background

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
    "rmtscale.study.evaluation.widths.measure_changes",
    "rmtscale.study.evaluation.widths.right_by_width",
    "rmtscale.study.evaluation.attention_samples.story_sample",
    "rmtscale.study.figures.figure.Figure.make",
    "rmtscale.cli.reproduce._make_all",
    "rmtscale.cli.calibrate._measured_here",
    "rmtscale.cli.profile_workers.run_on",
    "rmtscale.cli.profile.run_shared",
    "rmtscale.cli.profile.run_sweep",
    "rmtscale.app.pages.static_page",
    "rmtscale.app.server.serve",
    "rmtscale.study.figures.field.page.comparison_files",
)
"""Where the work of a line begins: whatever comes here was accepted."""
ONCE = (
    "rmtscale.study.training.memory_tasks.checkpoint.load_checkpoint",
    "rmtscale.study.training.device.open_meter",
)
"""What takes long and is the same for equal arguments: a checkpoint, a meter of memory."""


def accepted(*_: Any, **__: Any) -> NoReturn:
    """Stands in the place of the work."""
    raise SystemExit(0)


@contextmanager
def stopped() -> Iterator[None]:
    """Stops every line where its work begins."""
    with ExitStack() as stack, built_once():
        for name in WORK:
            stack.enter_context(mock.patch(name, accepted))
        for name in ONCE:
            module, _, function = name.rpartition(".")
            real = getattr(import_module(module), function)
            stack.enter_context(mock.patch(name, cache(real)))
        yield


def make_right(folder: Path) -> dict[str, str]:
    """Writes what the lines name: noise, a checkpoint and records; returns where they are."""
    import rmtscale.profiler.fallback  # noqa: F401  (loads torch, which takes its seconds)

    background = write_background(folder / "background")
    settings = tiny_settings(background, steps=4, validation_samples=1)
    train(settings, folder / "training", device="cpu")
    records = folder / "records.jsonl"
    points = [cpu_point(tokens=tokens) for tokens in (64, 128)]
    records.write_text("".join(f"{cpu_record(point).to_line()}\n" for point in points), "utf-8")
    return {
        "background": str(background),
        "checkpoint": str(folder / "training" / "last"),
        "records": str(records),
    }
