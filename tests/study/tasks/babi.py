"""Reads the original bAbI stories: the few beside this file, and all of them where they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).with_name("babi_stories.txt")
VARIABLE = "RMTSCALE_DATA"
"""Folder that holds ``babi/en-10k/``; without it only the few stories are compared."""
FILES = {
    1: ("qa1_single-supporting-fact_train.txt", "qa1_single-supporting-fact_test.txt"),
    4: ("qa4_two-arg-relations_train.txt", "qa4_two-arg-relations_test.txt"),
}


@dataclass(frozen=True)
class Asked:
    """One question, what was told before it, and the original answer."""

    told: tuple[str, ...]
    question: str
    answer: str
    supporting: str


def read_stories(lines: Iterable[str]) -> list[Asked]:
    """Every question of every story."""
    found: list[Asked] = []
    told: dict[int, str] = {}
    for line in lines:
        number, _, text = line.rstrip("\n").partition(" ")
        if number == "1":
            told = {}
        if "\t" in text:
            question, answer, supporting = text.split("\t")
            found.append(
                Asked(tuple(told.values()), question.strip(), answer, told[int(supporting)])
            )
        else:
            told[int(number)] = text
    return found


def few_stories(task: int) -> list[Asked]:
    """The stories of the fixture."""
    sections = HERE.read_text(encoding="utf-8").split("# task ")
    (section,) = (one for one in sections if one.startswith(f"{task}\n"))
    return read_stories(section.splitlines()[1:])


def all_stories(task: int) -> list[Asked]:
    """All 11,000 questions of a task; skips the test where the files are not."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with the original bAbI files")
    found = []
    for name in FILES[task]:
        path = Path(folder, "babi", "en-10k", name)
        found += read_stories(path.read_text(encoding="utf-8").splitlines())
    return found
