"""The sample that Figure 6 shows, where its facts and memory stand, and what looks at them.

Shape legend: T positions of a segment (memory and special tokens with them), H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput
from rmtscale.study.figures.figure_6.claims import SEGMENTS, Looks, Share

if TYPE_CHECKING:
    from rmtscale.study.evaluation.attention import AttentionMap
    from rmtscale.study.training.memory_tasks.data import TaskData
    from rmtscale.study.training.memory_tasks.reading import Reader

FACTS_IN = (0, 2)
_TRIES = 200
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One input, and where its facts and its question stand."""

    ids: Any
    answer: int
    facts: tuple[range, ...]
    """Columns of each fact."""
    question: range


def find_sample(data: TaskData, segment_tokens: int) -> Sample:
    """Finds the first validation sample with facts in the first and the third segment.

    Raises:
        BadInput: there is none among many (two facts do not fit in the segments so).
    """
    tokens = SEGMENTS * segment_tokens
    batches = data.batches(tokens, segment_tokens, split="validation", batch_size=_BATCH)
    facts = data.vocabulary
    lengths = {len(facts.array(text)) for text in data.task.all_facts()}
    question = max(len(facts.array(text)) for text in data.task.all_questions())
    for index in range(_TRIES):
        batch = batches.batch(index)
        segments = batch.fact_positions // segment_tokens
        for row in range(_BATCH):
            if sorted(segments[row].tolist()) != list(FACTS_IN):
                continue
            positions = sorted(batch.fact_positions[row].tolist())
            return Sample(
                batch.ids[row],
                int(batch.answers[row]),
                tuple(range(start, start + max(lengths)) for start in positions),
                range(tokens - question, tokens),
            )
    raise BadInput(
        f"segments of {segment_tokens} tokens: expected room for a fact in the first and the third"
    )


def measure(reader: Reader, attention: AttentionMap, sample: Sample) -> list[Looks]:
    """Measures what the written memory, and in the last segment the answer, look at."""
    from rmtscale.study.evaluation.attention import places

    read, text, write, answer = places(reader.model, len(attention.labels))
    fact = inside(sample.facts, attention.segment, text)
    queries = {"written memory": write}
    if attention.segment == SEGMENTS - 1:
        queries["answer"] = [answer]

    def largest(rows: Sequence[int], keys: Sequence[int]) -> Share:
        by_head = attention.weights[:, :, list(rows)][..., list(keys)].sum(3).mean(2)
        return Share(float(by_head.max()), len(keys) / len(attention.labels))

    return [
        Looks(attention.segment, query, largest(rows, fact) if fact else None, largest(rows, read))
        for query, rows in queries.items()
    ]


def inside(columns: Sequence[range], segment: int, text: Sequence[int]) -> list[int]:
    """Returns the positions in a segment of columns of the whole input."""
    start = segment * len(text)
    return [text[at - start] for part in columns for at in part if 0 <= at - start < len(text)]
