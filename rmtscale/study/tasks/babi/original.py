"""The original bAbI files (Weston et al. 2015), read in place: version 1.2, qa1 to qa5.

They lie in ``babi/`` of the folder that the environment variable ``RMTSCALE_DATA`` names, in the
archive's own sub-folders. Of qa3 the large training file is rarely at hand; there the small one
and the two validation files are what stories are trained on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.readers import read_lines
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.sample import Between

VARIABLE = "RMTSCALE_DATA"
_NAMES = {
    "qa1": "single-supporting-fact",
    "qa2": "two-supporting-facts",
    "qa3": "three-supporting-facts",
    "qa4": "two-arg-relations",
    "qa5": "three-arg-relations",
}
_Question = tuple[int, str, str, tuple[int, ...]]
"""Facts before it, question, answer, and the facts that this rests on, in their order."""
_SMALL = ("en-valid/qa3_train.txt", "en-valid/qa3_valid.txt", "en-valid-10k/qa3_valid.txt")


def file_names(qa: str, split: str) -> tuple[str, ...]:
    """Lists the files of a task below ``babi/``.

    Args:
        qa: ``qa1`` to ``qa5``.
        split: ``test``, or anything else for what is trained on.
    """
    if split == "test" or qa != "qa3":
        part = "test" if split == "test" else "train"
        return (f"en-10k/{qa}_{_NAMES[qa]}_{part}.txt",)
    return _SMALL


def read_original(qa: str, split: str) -> list[Asked]:
    """Reads every question of a task, in the order of the files.

    Raises:
        BadInput: no such folder or file, or one that is not of bAbI's format.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise BadInput(
            f"original stories of {qa}: expected {VARIABLE} to name a folder with "
            f"babi/{file_names(qa, split)[0]}"
        )
    return list(_read(folder, qa, split))


@cache
def _read(folder: str, qa: str, split: str) -> tuple[Asked, ...]:
    found: list[Asked] = []
    for name in file_names(qa, split):
        path = Path(folder, "babi", name)
        found += parse_file(read_lines(path, f"stories {str(path)!r}"), f"stories {str(path)!r}")
    return tuple(found)


def parse_file(lines: Iterable[str], where: str) -> list[Asked]:
    """Parses a file: numbered facts, and questions with an answer and the facts it rests on.

    Raises:
        BadInput: a line of another form.
    """
    found: list[Asked] = []
    facts: list[str] = []
    asked: list[_Question] = []
    places: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        head, _, text = line.strip().partition(" ")
        if not head.isdecimal() or not text:
            raise BadInput(f"{where}, line {number}: expected a number and a sentence")
        if head == "1":
            found += _of_story(facts, asked)
            facts, asked, places = [], [], {}
        if "\t" not in text:
            places[int(head)] = len(facts)
            facts.append(text)
            continue
        try:
            question, answer, supporting = text.split("\t")
            rests_on = tuple(sorted(places[int(one)] for one in supporting.split()))
        except (ValueError, KeyError) as error:
            raise BadInput(
                f"{where}, line {number}: expected a question, its answer and facts before it"
            ) from error
        asked.append((len(facts), question.strip(), answer, rests_on))
    return found + _of_story(facts, asked)


def _of_story(facts: list[str], asked: list[_Question]) -> list[Asked]:
    story = tuple(facts)
    between = tuple(Between(*one[:3]) for one in asked)
    return [
        Asked(story, told, question, answer, rests_on[-1], between, rests_on)
        for told, question, answer, rests_on in asked
    ]
