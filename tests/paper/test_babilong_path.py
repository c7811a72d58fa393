"""BABILong's qa3 from memory alone: how far back it knows where an object was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rmtscale.study.evaluation.evaluate import data_of
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.pool import load_pool
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.study.tasks.story_solver import World, rare_by_hand

PAGE = (REPORTS / "babilong/tried/README.md").read_text(encoding="utf-8")
STORIES = 200
SEGMENTS = 4
"""Of facts; the question stands in one more, so that memory alone can tell."""


def places_since(asked: Asked) -> int:
    """How many places the object was carried to after the one that is asked for."""
    world = World()
    for fact in asked.facts:
        world.tell(fact.removesuffix("."))
    words = asked.question.removesuffix("?").split()
    back = world.been[words[3]][::-1]
    since = back.index(words[-1])
    assert back[since + 1] == asked.answer
    return since


@pytest.mark.parametrize(
    ("name", "line"), [("qa3", "| the committed qa3 "), ("qa3-16", "| the committed `qa3-16` ")]
)
def test_how_far_back_qa3_knows_a_path(name: str, line: str) -> None:
    """A line of the table: right of each count of places since, three or more together."""
    torch = pytest.importorskip("torch")
    prose = Path(os.environ.get("RMTSCALE_DATA", "")) / "prose"
    if not os.environ.get("RMTSCALE_DATA") or not prose.is_dir():
        pytest.skip("RMTSCALE_DATA names no folder with prose")
    checkpoint = load_checkpoint(REPORTS / "babilong/checkpoints" / name, "babilong", None)
    checkpoint.answerer.rmt.config.dead_band = 0.5
    reader = Reader(checkpoint.answerer, torch.device("cpu"))
    noise = data_of(checkpoint, str(prose)).noise("validation")
    array, size = checkpoint.data.vocabulary.array, checkpoint.answerer.segment_tokens
    asked = load_pool("qa3", "generated", "validation").asked
    seldom = [one.question in rare_by_hand("qa3", one.facts) for one in asked]
    of_kind = {
        kind: [one for one, own in zip(asked, seldom, strict=True) if own == kind]
        for kind in (True, False)
    }
    chosen = of_kind[True][:STORIES] + of_kind[False][:STORIES]
    rng = np.random.default_rng(0)

    def segment(told: list[np.ndarray], *, last: bool = False) -> np.ndarray:
        """Puts what is told, in its order, at random places of a segment of noise or at its end."""
        left = size - sum(map(len, told))
        start = int(rng.integers(0, noise.tokens - left))
        at = np.sort(rng.integers(0, left + 1, len(told))) if not last else [left] * len(told)
        pieces = np.split(noise.ids[start : start + left], at)
        mixed = [part for both in zip(pieces, told, strict=False) for part in both]
        return np.concatenate([*mixed, pieces[-1]])

    def row(one: Asked) -> np.ndarray:
        groups = np.array_split(np.arange(len(one.facts)), SEGMENTS)
        parts = [segment([array(one.facts[number]) for number in group]) for group in groups]
        return np.concatenate([*parts, segment([array(one.question)], last=True)])

    found = {since: [0, 0] for since in (0, 1, 2, 3)}
    for first in range(0, len(chosen), 50):
        some = chosen[first : first + 50]
        logits = reader.logits(np.stack([row(one) for one in some]).astype(np.int32))
        for one, index in zip(some, logits.argmax(1).tolist(), strict=True):
            counts = found[min(places_since(one), 3)]
            counts[0] += checkpoint.data.task.classes[index] == one.answer
            counts[1] += 1
    (row_of_page,) = (row for row in PAGE.splitlines() if row.startswith(line))
    cells = row_of_page.strip("| ").split(" | ")[1:]
    told = [tuple(map(int, cell.split(" of "))) for cell in cells]
    assert [of for _, of in told] == [of for _, of in found.values()]
    for (right, _), (page, _) in zip(found.values(), told, strict=True):
        assert abs(right - page) <= 2  # another machine rounds otherwise
