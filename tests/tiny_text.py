"""Language trainings of seconds: documents with words that come again, a tiny backbone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from rmtscale.study.training.language.settings import LanguageSettings

WORDS = 40


def write_text(folder: Path, documents: int = 6, words: int = 400) -> Path:
    """``train.jsonl`` and ``validation.jsonl``; each document has a few words of its own, so that
    what was read before helps."""
    chance = random.Random(11)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        lines = []
        for _ in range(documents):
            own = chance.sample(range(WORDS), 6)
            text = " ".join(f"w{chance.choice(own)}" for _ in range(words)) + "."
            lines.append(json.dumps({"text": text}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def tiny_text_settings(text: Path, **more: Any) -> LanguageSettings:
    """Two segments of 20 positions; a second on one core."""
    values: dict[str, Any] = {
        "text": str(text),
        "vocabulary_size": 320,
        "backbone": "gpt-neox-tiny",
        "segment_size": 20,
        "memory_tokens": 2,
        "segments": 2,
        "history_tokens": 32,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "steps": 24,
        "stage_steps": 8,
        "warmup_steps": 4,
        "ema_decay": 0.9,
        "log_every": 4,
        "validate_every": 12,
        "validation_samples": 8,
        "precision": "fp32",
        **more,
    }
    return LanguageSettings(**values)
