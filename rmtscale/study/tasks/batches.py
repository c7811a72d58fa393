"""An endless stream of batches in which each one depends on the seed and its number alone.

A training run that goes on at step i sees the data it would have seen: nothing is to be stored.

Shape legend: B batch, N tokens, F facts, S segments, T what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.fact_fragments import FactFragments
from rmtscale.study.tasks.noise import Filler
from rmtscale.study.tasks.placement import LateFacts
from rmtscale.study.tasks.task import Task
from rmtscale.study.tasks.vocabulary import TextCoder
from rmtscale.units import require_positive


class Batch(NamedTuple):
    """Samples of one length."""

    ids: npt.NDArray[np.int32]
    """(B, N), the question last."""
    answers: npt.NDArray[np.int64]
    """(B,), indices into the task's ``classes``."""
    fact_positions: npt.NDArray[np.int64]
    """(B, F), first token of each fact; column 0 is the fact that gives the answer, and stands in
    the last columns of stories with fewer facts too."""


class Asked(NamedTuple):
    """All questions of the samples of a batch, those among the facts first, the last one last.

    Each is there twice, read at its last token and one token before: there its mark is missing, and
    nothing else. What is asked about is often that token itself, which has not to be looked for.
    """

    columns: npt.NDArray[np.int64]
    """(B, K), where the answer is read."""
    answers: npt.NDArray[np.int64]
    """(B, K), indices into the task's ``classes``; -1 where a sample has fewer questions."""


class Batches:
    """Batch number i of a task, for any i from 0 on.

    Args:
        task: draws the stories.
        vocabulary: must be the one the noise was made with.
        noise: fills the rest.
        tokens: length N of every sample.
        batch_size: B.
        seed: 0 or more; another seed is another stream.
        segment_tokens: text tokens of a full segment.
        fact_fragments: fragments of facts in the noise, if any.
        late: keeps some of the last facts near the question, of a task that places them in order.

    Raises:
        BadInput: sizes the task does not fit into, more noise than there is, a negative seed, or
            the noise of another vocabulary.
    """

    def __init__(
        self,
        task: Task,
        vocabulary: TextCoder,
        noise: Filler,
        tokens: int,
        batch_size: int,
        seed: int,
        segment_tokens: int,
        fact_fragments: FactFragments | None = None,
        late: LateFacts | None = None,
    ) -> None:
        if noise.vocabulary is not vocabulary:
            raise BadInput("noise of another vocabulary: expected the one the batches are made of")
        require_positive("batch size", batch_size)
        if type(seed) is not int or seed < 0:
            raise BadInput(f"seed {seed!r}: expected a whole number of 0 or more")
        task.require_room(vocabulary, tokens, segment_tokens)
        noise.require(tokens)
        self.task, self.vocabulary, self.noise = task, vocabulary, noise
        self.tokens, self.batch_size, self.seed = tokens, batch_size, seed
        self.segment_tokens, self.fact_fragments = segment_tokens, fact_fragments
        self.late = late
        self._classes = {place: index for index, place in enumerate(task.classes)}

    def batch(self, index: int) -> Batch:
        """Batch number ``index``, the same whenever it is asked for."""
        return self.batch_and_questions(index)[0]

    def batch_and_questions(self, index: int) -> tuple[Batch, Asked]:
        """Batch number ``index`` with all its questions."""
        return self._written(index)

    def batch_and_told(self, index: int) -> tuple[Batch, Asked, npt.NDArray[np.int64]]:
        """Batch number ``index`` with all its questions, and what is so after each segment.

        Returns:
            The batch, its questions, and the task's ``told_after`` all facts that have ended where
            a segment ends, (B, S, T).
        """
        told: list[npt.NDArray[np.int64]] = []
        batch, asked = self._written(index, told)
        return batch, asked, np.stack(told)

    def _written(
        self, index: int, told: list[npt.NDArray[np.int64]] | None = None
    ) -> tuple[Batch, Asked]:
        """Writes a batch and its questions; where asked for, adds what each sample tells."""
        rng = np.random.default_rng((self.seed, index))
        ids = np.empty((self.batch_size, self.tokens), dtype=np.int32)
        answers = np.empty(self.batch_size, dtype=np.int64)
        positions = np.empty((self.batch_size, self.task.facts_per_story), dtype=np.int64)
        shape = self.batch_size, self.task.most_between + 1
        asked = Asked(np.full(shape, self.tokens - 1), np.full(shape, -1))
        for row in range(self.batch_size):
            story, found, earlier = self.task.write(
                rng, ids[row], self.noise, self.segment_tokens, self.fact_fragments, self.late
            )
            if told is not None:
                told.append(self._told(story.facts, found))
            answering = found.pop(story.answering)
            positions[row] = answering
            positions[row, 1 : len(found) + 1] = found
            answers[row] = self._classes[story.answer]
            asked.columns[row, : len(earlier)] = earlier
            asked.answers[row, : len(earlier)] = [self._classes[answer] for answer in story.earlier]
        asked.answers[:, -1] = answers
        twice = Asked(
            np.concatenate([asked.columns - 1, asked.columns], axis=1),
            np.concatenate([asked.answers, asked.answers], axis=1),
        )
        return Batch(ids, answers, positions), twice

    def _told(self, facts: Sequence[str], positions: Sequence[int]) -> npt.NDArray[np.int64]:
        """Finds what is so after each segment, (S, T); a fact that a boundary cuts is read where it
        ends."""
        ends_F = np.add(positions, [len(self.vocabulary.array(fact)) for fact in facts])
        bounds_S = np.arange(self.tokens, 0, -self.segment_tokens)[::-1]
        return self.task.told_after(facts, ends_F <= bounds_S[:, None])
