"""One sample of any task, and where what matters stands in it, for a look at the attention.

Shape legend: N columns of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.batches import Batch
from rmtscale.study.tasks.blocks import IGNORED
from rmtscale.study.tasks.lemma_proof import NAME, PROOF
from rmtscale.study.tasks.tokenizer import TextTokenizer
from rmtscale.study.training.language.data import Source
from rmtscale.study.training.memory_tasks.data import TaskData


@dataclass(frozen=True, slots=True)
class AttentionSample:
    """One input, and where its parts stand."""

    ids: npt.NDArray[Any]
    """(N,)"""
    parts: dict[str, tuple[range, ...]]
    """Columns of each part by its name, such as ``fact`` or ``block``."""
    answer: str | None = None
    """Right answer of a memory task."""
    targets: npt.NDArray[Any] | None = None
    """Language tasks: the token that follows each, (N,), below 0 where it is not scored."""

    def words(self, spelled: Sequence[str], part: str) -> list[str]:
        """Returns the text of each stretch of a part; ``spelled`` has that of each column."""
        return [" ".join(spelled[at] for at in columns) for columns in self.parts.get(part, ())]


class Pieces:
    """A tokenizer that says the text of each token by itself."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the text of each token; a line's end is seen as one."""
        return [self.tokenizer.decode([one]).replace("\n", "\\n").strip(" ") for one in ids]


def story_sample(
    data: TaskData, segments: int, segment_tokens: int, number: int
) -> AttentionSample:
    """Returns a validation sample of a memory task, its facts and its question.

    Args:
        data: task, vocabulary and noise.
        segments: how many the sample has, all of them full.
        segment_tokens: text tokens of each.
        number: which sample, from 0.

    Raises:
        BadInput: the task does not fit into so many segments.
    """
    tokens = segments * segment_tokens
    batches = data.batches(tokens, segment_tokens, split="validation", batch_size=1)
    return story_in(data, batches.batch(number), 0)


def story_in(data: TaskData, batch: Batch, row: int) -> AttentionSample:
    """Returns one sample of a batch of a memory task, its facts and its question."""
    ids = batch.ids[row]
    facts = [data.vocabulary.array(text) for text in data.task.all_facts()]
    questions = [data.vocabulary.array(text) for text in data.task.all_questions()]
    asked = max(len(text) for text in questions if np.array_equal(ids[-len(text) :], text))
    starts = sorted(batch.fact_positions[row].tolist())
    return AttentionSample(
        ids,
        {
            "fact": tuple(range(start, start + _length(ids[start:], facts)) for start in starts),
            "question": (range(len(ids) - asked, len(ids)),),
        },
        data.task.classes[int(batch.answers[row])],
    )


def _length(ids: npt.NDArray[Any], texts: Iterable[npt.NDArray[Any]]) -> int:
    """Counts the tokens of the longest of some texts that ids begin with."""
    return max(len(text) for text in texts if np.array_equal(ids[: len(text)], text))


def text_sample(source: Source, read_tokens: int, number: int) -> AttentionSample:
    """Returns a validation sample of a language task, and what is scored in it.

    Args:
        source: the samples of the split.
        read_tokens: N.
        number: which sample, from 0.

    Raises:
        BadInput: there are fewer samples, or none of that length.
    """
    batch = next(islice(source.batches(read_tokens, 1), number, None), None)
    if batch is None:
        raise BadInput(f"sample {number}: expected 0 to {source.samples() - 1}")
    marks = batch.marks[0]
    parts = {"block": batch.targets[0] != IGNORED}
    if marks.any():
        parts = {"proof": (marks & PROOF) != 0, "lemma name": (marks & NAME) != 0}
    stretches = {name: tuple(_runs(where)) for name, where in parts.items() if where.any()}
    return AttentionSample(batch.ids[0], stretches, targets=batch.targets[0])


def _runs(where: npt.NDArray[np.bool_]) -> Iterator[range]:
    """Yields the stretches of columns that are marked."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], where.astype(np.int8), [0]))))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield range(begin, end)
