"""A new memory task costs its own class and a line of the catalog: every command takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from rmtscale.study.tasks import catalog
from rmtscale.study.tasks.sample import Story
from rmtscale.study.tasks.task import Task, pick
from tests.tiny_training import write_background

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class Colours(Task):
    """Which colour has the box?"""

    name: ClassVar[str] = "colours"

    @property
    def classes(self) -> tuple[str, ...]:
        return COLOURS

    @property
    def facts_per_story(self) -> int:
        return 1

    def all_facts(self) -> tuple[str, ...]:
        return tuple(f"The box is {colour}." for colour in COLOURS)

    def all_questions(self) -> tuple[str, ...]:
        return ("Which colour has the box?",)

    def story(self, rng: np.random.Generator) -> Story:
        colour = pick(rng, len(COLOURS))
        return Story((self.all_facts()[colour],), self.all_questions()[0], COLOURS[colour])


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that CONTRIBUTING asks for."""
    monkeypatch.setitem(catalog.TASKS, "colours", f"{__name__}:Colours")


@pytest.mark.usefixtures("colours")
def test_every_command_takes_it(rmtscale: Callable[..., Any], tmp_path: Path) -> None:
    background, out = write_background(tmp_path / "text"), tmp_path / "run"
    helped = rmtscale("train", "--help")
    assert "colours" in helped.out
    given = (
        "--task colours --backbone gpt-neox-tiny --segment-size 32 --memory-tokens 2 --segments 2 "
        "--steps 8 --batch-size 8 --device cpu --set vocabulary_words=120 --set start_tokens=[16] "
        "--set log_every=4 --set validate_every=8 --set stage_min_steps=2 --set stage_max_steps=2 "
        "--set validation_samples=8 --set warmup_steps=2 --set contrast_first=true"
    ).split()
    done = rmtscale("train", *given, "--background", str(background), "--out", str(out))
    assert done.code == 0, done.err
    best = str(out / "best")
    asked = ["--segments", "1,2", "--samples", "6", "--batch-size", "6", "--device", "cpu"]
    evaluated = rmtscale("evaluate", best, *asked, "--task", "colours", "--format", "json")
    assert evaluated.code == 0, evaluated.err
    rows = json.loads(evaluated.out)["rows"]
    assert [(row["task"], row["segments"]) for row in rows] == [("colours", 1), ("colours", 2)]
    refused = rmtscale("evaluate", best, "--text", "python")
    assert refused.code == 2
    assert (
        "--text 'python': expected with a language task only, this checkpoint is of colours"
        in refused.err
    )


def test_without_its_line_nobody_knows_it(rmtscale: Callable[..., Any], tmp_path: Path) -> None:
    """The test above can fail."""
    refused = rmtscale("train", "--task", "colours", "--out", str(tmp_path / "run"))
    assert refused.code == 2
    assert "task 'colours': expected one of memorize, detect-memorize" in refused.err
    assert "colours" not in rmtscale("train", "--help").out
