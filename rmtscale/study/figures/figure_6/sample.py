"""The sample that Figure 6 shows: what stands in each of its segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.errors import BadInput
from rmtscale.study.figures.figure_6.claims import SEGMENTS

if TYPE_CHECKING:
    from rmtscale.study.evaluation.attention_samples import AttentionSample
    from rmtscale.study.training.memory_tasks.data import TaskData

FACTS_IN = {1: (0,), 2: (0, 2)}
"""Segments with a fact, by the number of facts that a story has."""
_TRIES = 200
_BATCH = 50


def find_sample(data: TaskData, segment_tokens: int) -> AttentionSample:
    """Finds the first validation sample with a fact in the first segment and, of a task with two,
    the other in the third.

    Raises:
        BadInput: stories have other numbers of facts, or there is no such sample among many (the
            facts do not fit in the segments so).
    """
    from rmtscale.study.evaluation.attention_samples import story_in

    wanted = FACTS_IN.get(data.task.facts_per_story)
    if wanted is None:
        raise BadInput(
            f"stories of {data.task.facts_per_story} facts: expected a task of one or two"
        )
    batches = data.batches(
        SEGMENTS * segment_tokens, segment_tokens, split="validation", batch_size=_BATCH
    )
    for index in range(_TRIES):
        batch = batches.batch(index)
        for row, segments in enumerate(batch.fact_positions // segment_tokens):
            if sorted(segments.tolist()) == list(wanted):
                return story_in(data, batch, row)
    places = "the first and the third" if len(wanted) > 1 else "the first"
    raise BadInput(f"segments of {segment_tokens} tokens: expected room for a fact in {places}")


def title(segment: int, facts: int) -> str:
    """Says what happens in a segment, from 0, of a sample with so many facts."""
    if segment == SEGMENTS - 1:
        return "the question: answered from memory"
    if segment in FACTS_IN[facts]:
        return "a fact: detected and written"
    return "no fact: memory is kept"
