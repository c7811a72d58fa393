"""Trainings of seconds: a background of made-up sentences, a tiny backbone, short segments."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from rmtscale.study.training.layout import SETTINGS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.settings_file import read_settings

WORDS = 60


def write_background(folder: Path, documents: int = 4, sentences: int = 200) -> Path:
    """``train.jsonl`` and ``validation.jsonl`` of sentences of made-up words."""
    chance = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        lines = []
        for _ in range(documents):
            text = " ".join(
                " ".join(f"w{chance.randrange(WORDS)}" for _ in range(chance.randint(3, 8))) + "."
                for _ in range(sentences)
            )
            lines.append(json.dumps({"text": text}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def tiny_settings(background: Path, **more: Any) -> MemoryTaskSettings:
    """Memorize on two segments of 32 positions, and a burn-in; a second on one core."""
    values: dict[str, Any] = {
        "background": str(background),
        "vocabulary_words": 120,
        "backbone": "gpt-neox-tiny",
        "segment_size": 32,
        "memory_tokens": 2,
        "segments": 2,
        "start_tokens": (16,),
        "batch_size": 16,
        "short_batch": 1,
        "learning_rate": 2e-3,
        "steps": 32,
        "warmup_steps": 5,
        "stage_min_steps": 4,
        "stage_max_steps": 8,
        "burn_in": (4,),
        "burn_in_max_steps": 100,
        "ema_decay": 0.9,
        "log_every": 4,
        "validate_every": 8,
        "validation_samples": 16,
        "validation_segments": (2, 4),
        "precision": "fp32",
        **more,
    }
    return MemoryTaskSettings(**values)


def demand_both_ends(settings: MemoryTaskSettings, folder: Path) -> tuple[Path, Path]:
    """Trains at one go, and stopped and gone on with the settings that its file has; returns the
    folders of both."""
    whole, part = folder / "whole", folder / "part"
    assert train(settings, whole, device="cpu").finished
    assert not train(settings, part, device="cpu", max_seconds=0.0).finished
    stored = read_settings(part / SETTINGS)
    assert stored == settings
    assert train(stored, part, device="cpu").finished
    return whole, part
