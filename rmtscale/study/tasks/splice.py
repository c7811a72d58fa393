"""Facts spliced into noise: a row of tokens of which any part can be read.

Shape legend: N tokens of the row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from rmtscale.study.tasks.vocabulary import Ids

Fill = Callable[[int, Ids], None]
"""Writes the noise from an offset on into what it is given."""


class Splice:
    """A row of noise with facts in it, and a question at its end.

    Args:
        tokens: N.
        positions: of the first token of each fact, ascending; facts do not overlap.
        facts: token ids of each.
        question: token ids.
    """

    def __init__(
        self, tokens: int, positions: Sequence[int], facts: Sequence[Ids], question: Ids
    ) -> None:
        self.tokens = tokens
        self._pieces = [*facts, question]
        self._starts = [*positions, tokens - len(question)]
        self._ends = [
            start + len(piece) for start, piece in zip(self._starts, self._pieces, strict=True)
        ]
        self._before = [0]
        """Tokens of the pieces before each."""
        for piece in self._pieces[:-1]:
            self._before.append(self._before[-1] + len(piece))

    def read(self, begin: int, out: Ids, noise: Fill) -> None:
        """Writes the tokens from ``begin`` on into ``out``; no more than there are.

        Args:
            begin: 0 or more.
            out: (up to N - begin,).
            noise: writes what is no fact.
        """
        at, end = begin, begin + len(out)
        index = bisect_right(self._ends, at)
        while at < end:
            start = self._starts[index]
            if at < start:
                stop = min(start, end)
                noise(at - self._before[index], out[at - begin : stop - begin])
            else:
                stop = min(self._ends[index], end)
                out[at - begin : stop - begin] = self._pieces[index][at - start : stop - start]
                index += 1
            at = stop


def copied_from(text: Ids) -> Fill:
    """Returns what fills from a text that is there as a whole."""

    def fill(offset: int, out: Ids) -> None:
        out[:] = text[offset : offset + len(out)]

    return fill
