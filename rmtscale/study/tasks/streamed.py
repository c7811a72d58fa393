"""Inputs of any length in constant memory: rows of which only what is read is written.

A row remembers which stretches of the noise it is made of and where its facts stand, which takes a
few hundred numbers for ten million tokens. Whoever reads columns gets them written then.

Shape legend: B batch, N tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.placement import in_order
from rmtscale.study.tasks.splice import Splice
from rmtscale.study.tasks.vocabulary import Ids


class Columns(Protocol):
    """Token ids, (B, N), read by columns: an array, or rows that are written when they are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, N)."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Returns the ids of ``[:, begin:end]``."""
        ...


class StreamedRow:
    """A story in noise, its facts at boundaries of sentences, each as likely.

    The noise begins at a random sentence; all of it is read once before any of it comes again.

    Args:
        rng: the only source of chance.
        asked: the story and its question.
        noise: whose vocabulary writes them.
        tokens: N; None is the story alone.
        prompt: written in the place of the question; None is the question itself.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        asked: Asked,
        noise: Noise,
        tokens: int | None,
        prompt: str | None = None,
    ) -> None:
        array = noise.vocabulary.array
        facts = [array(fact) for fact in asked.facts]
        question = array(asked.question if prompt is None else prompt)
        lengths = [len(fact) for fact in facts]
        told = sum(lengths) + len(question)
        self.tokens = told if tokens is None else tokens
        stretches = _stretches(rng, noise, self.tokens - told)
        self._ids = noise.ids
        self._begins = np.array([start for start, _ in stretches], dtype=np.int64)
        sizes = [stop - start for start, stop in stretches]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        """Offset in the row's noise where each stretch ends."""
        starts = noise.sentence_starts
        low_high = np.searchsorted(starts, np.array(stretches, dtype=np.int64).reshape(-1, 2))
        counts = np.cumsum(low_high[:, 1] - low_high[:, 0], dtype=np.int64)
        boundaries = int(counts[-1]) + 1 if len(counts) else 1

        def offsets(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            found = np.full(len(chosen), self.tokens - told)
            inside = chosen < boundaries - 1  # the last boundary is the end of the noise
            which = np.searchsorted(counts, chosen[inside], side="right")
            back = counts[which] - chosen[inside]
            place = starts[low_high[which, 1] - back]
            found[inside] = place - self._begins[which] + self._ends[which] - np.array(sizes)[which]
            return found

        positions = in_order(rng, lengths, boundaries, offsets).tolist()
        self.fact_ends: list[int] = [
            start + length - 1 for start, length in zip(positions, lengths, strict=True)
        ]
        """Column of the last token of each fact, in their order."""
        self._splice = Splice(self.tokens, positions, facts, question)

    def read(self, begin: int, out: Ids) -> None:
        """Writes the tokens from ``begin`` on into ``out``."""
        self._splice.read(begin, out, self._fill)

    def _fill(self, offset: int, out: Ids) -> None:
        done = 0
        index = int(np.searchsorted(self._ends, offset, side="right"))
        while done < len(out):
            at = offset + done
            left = int(self._ends[index]) - at
            size = min(left, len(out) - done)
            # Counted from the end of the stretch, which is where the ends are known.
            stop = int(self._begins[index]) + self._size(index) - left
            out[done : done + size] = self._ids[stop : stop + size]
            done, index = done + size, index + 1

    def _size(self, index: int) -> int:
        return int(self._ends[index]) - (int(self._ends[index - 1]) if index else 0)


def _stretches(rng: np.random.Generator, noise: Noise, tokens: int) -> list[tuple[int, int]]:
    """Lists which parts of the noise follow one another, the last one cut to size."""
    found: list[tuple[int, int]] = []
    rounds = noise.rounds(rng)
    while tokens > 0:
        start, stop = next(rounds)
        stop = min(stop, start + tokens)
        found.append((start, stop))
        tokens -= stop - start
    return found


class StreamedRows:
    """Rows of one length, read like an array of (B, N).

    Args:
        rows: B of them.
    """

    def __init__(self, rows: Sequence[StreamedRow]) -> None:
        self.rows = rows
        self.shape = (len(rows), rows[0].tokens)

    def __getitem__(self, key: tuple[slice, slice]) -> Ids:
        """Writes ``[:, begin:end]``."""
        begin, end, _ = key[1].indices(self.shape[1])
        out = np.empty((len(self.rows), end - begin), dtype=np.int32)
        for row, ids in zip(self.rows, out, strict=True):
            row.read(begin, ids)
        return out
