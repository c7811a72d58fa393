"""Files as the original ones are, made of drawn stories, for tests that read no others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.babi.original import file_names
from rmtscale.study.tasks.babi.stories import Drawer


def written(asked: Iterable[Asked]) -> str:
    """Stories in bAbI's format."""
    lines = []
    for _, group in groupby(asked, lambda one: id(one.story)):
        number, told = 0, 0
        places: list[int] = []
        for one in group:
            for fact in one.story[told : one.told]:
                number += 1
                places.append(number)
                lines.append(f"{number} {fact}")
            told, number = one.told, number + 1
            lines.append(f"{number} {one.question} \t{one.answer}\t{places[one.answering]}")
    return "\n".join(lines) + "\n"


def write_files(folder: Path, stories: int = 12) -> Path:
    """Test and training files of all five tasks below ``babi/``."""
    for qa in QAS:
        for seed, split in enumerate(("train", "test")):
            drawer = Drawer(qa, 1000 + seed)
            for name in file_names(qa, split):
                path = folder / "babi" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                own = [asked for _ in range(stories) for asked in drawer.story()]
                path.write_text(written(own), encoding="utf-8")
    return folder
