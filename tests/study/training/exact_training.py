"""Small trainings of both kinds, and in float64, whose losses can be compared step by step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rmtscale.study.training import loop
from rmtscale.study.training.kinds import make_objective
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.loop import train
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.settings import LoopSettings
from tests.tiny_training import tiny_settings

THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"


def train_exactly(chosen: LoopSettings, folder: Path, **more: Any) -> None:
    """In float64: single steps in single precision drift apart by 1e-6."""

    def made(chosen: Any, cache: Path) -> Objective:
        objective = make_objective(chosen, cache)
        objective.learner.double()
        return objective

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_objective", made)
        train(chosen, folder, device="cpu", **more)


def memory_task(background: Path, intervals: int, steps: int) -> LoopSettings:
    """Uneven batches, a stage an interval, a burn-in, a validation of three batches."""
    return tiny_settings(
        background,
        steps=steps * intervals,
        log_every=steps,
        validate_every=steps,
        batch_size=7,
        learning_rate=5e-4,
        stage_min_steps=steps,
        stage_max_steps=steps,
        validation_samples=21,
    )


def text_task(background: Path, intervals: int, steps: int) -> LoopSettings:
    return LanguageSettings(
        text=str(background),
        backbone="gpt-neox-tiny",
        segments=3,
        segment_size=32,
        steps=steps * intervals,
        stage_steps=steps,
        batch_size=5,
        log_every=steps,
        validate_every=steps,
        validation_samples=7,
        validation_segments=(2, 3),
        precision="fp32",
        vocabulary_size=300,
        warmup_steps=3,
    )
