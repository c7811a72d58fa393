"""Fragments of facts in the noise of a training: they look like facts and tell nothing.

Novels seldom name a kitchen, and hardly ever say that somebody unnamed went there. A model that has
to find facts takes such a sentence for one so rarely that it learns little from it; over thousands
of segments, seldom is enough to lose the memory to it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from rmtscale.study.tasks.vocabulary import Ids, TextCoder

_AT_A_START = 0.5
"""Share of the fragments that stand where a sentence begins, as facts do."""
_LEAST = 1.0
"""Fragments expected in a sample that has any, however short: a curriculum begins with a few words,
and what tells a fact from a fragment is learned fastest there."""
_PLAIN = 0.5
"""Share of the samples that have no fragments: evaluations have none either."""


def fragments(fact: str, subject_words: int) -> list[str]:
    """Cuts a fact: without its subject, from each word on, and without its last word.

    >>> fragments("John went to the hall.", 1)
    ['went to the hall.', 'to the hall.', 'the hall.', 'hall.', 'John went to the']
    """
    words = fact.split()
    ends = [" ".join(words[first:]) for first in range(subject_words, len(words))]
    return [*ends, " ".join(words[:-1])]


class FactFragments:
    """Writes fragments of facts over noise.

    Args:
        texts: the fragments.
        vocabulary: that of the noise.
        share: fragments begun per noise token, where that is more than one.
    """

    def __init__(self, texts: Collection[str], vocabulary: TextCoder, share: float) -> None:
        encoded = [vocabulary.array(text) for text in sorted(texts)]
        self.share = share
        self._lengths = np.array([len(ids) for ids in encoded])
        self._table = np.zeros((len(encoded), self._lengths.max()), dtype=np.int32)
        for row, ids in zip(self._table, encoded, strict=True):
            row[: len(ids)] = ids

    def scatter(self, rng: np.random.Generator, ids: Ids, starts: npt.NDArray[np.int64]) -> Ids:
        """Writes fragments into a copy of some noise, or returns the noise as it is.

        Args:
            rng: the only source of chance.
            ids: the noise, (N,).
            starts: where its sentences start.
        """
        if rng.random() < _PLAIN:
            return ids
        count = int(rng.poisson(max(self.share * len(ids), _LEAST)))
        if not count or not len(ids):
            return ids
        chosen = rng.integers(len(self._lengths), size=count)
        at = rng.integers(len(ids), size=count)
        if len(starts):
            begun = rng.random(count) < _AT_A_START
            at = np.where(begun, starts[rng.integers(len(starts), size=count)], at)
        written = ids.copy()
        for column in range(self._table.shape[1]):
            here = (self._lengths[chosen] > column) & (at + column < len(ids))
            written[at[here] + column] = self._table[chosen[here], column]
        return written
