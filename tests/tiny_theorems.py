"""Theorems of made-up words, with lemmas that their proofs name; a file of declarations."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from rmtscale.study.training.language.settings import LanguageSettings


def write_theorems(path: Path, files: int = 4, each: int = 12) -> Path:
    """``each`` declarations a file, half of them theorems that use two of the others."""
    chance = random.Random(3)
    lines: list[dict[str, Any]] = []
    for split in ("train", "validation"):
        for file in range(files):
            first = len(lines)
            for number in range(each):
                place = len(lines)
                uses = sorted(chance.sample(range(first, place), 2)) if number > each // 2 else []
                named = [lines[use]["name"] for use in uses]
                words = " ".join(f"w{chance.randrange(20)}" for _ in range(4))
                lines.append(
                    {
                        "name": f"about_{place}",
                        "statement": f"lemma about_{place} : {words}",
                        "proof": f"by {', '.join(named)} so w1" if uses else "rfl",
                        "uses": uses,
                        "file": f"{split}_{file}.lean",
                        "split": split,
                    }
                )
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def tiny_theorem_settings(text: Path, **more: Any) -> LanguageSettings:
    """Theorems in segments of 100 tokens."""
    values: dict[str, Any] = {
        "task": "lemma-proof",
        "text": str(text),
        "vocabulary_size": 300,
        "backbone": "gpt-neox-tiny",
        "segment_size": 104,
        "memory_tokens": 2,
        "segments": 2,
        "precision": "fp32",
        **more,
    }
    return LanguageSettings(**values)
