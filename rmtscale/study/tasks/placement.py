"""Placement of the facts in the noise.

All positions are those of the finished input. Segments are right-aligned, the question ends the
last one. But for ``ordered`` a fact lies whole in one segment: a place that would cut it is not
used.

========================  ==================================================================
``free``                  each fact at a sentence boundary of its own, uniformly; the end of
                          the noise, before the question, is one
``segment-start``         each at the start of a random segment (Bulatov et al. 2024's code)
``start``                 one after the other where the input starts
``depth:0.25``            the fact that gives the answer a quarter of the noise away from the
                          question (1: at the start), the others ``free``
``position:1000``         that fact after 1000 tokens of noise, the others ``free``
``ordered``               each at a sentence boundary, uniformly, facts in their order and two at
                          one boundary as they come (Kuratov et al. 2024)
========================  ==================================================================

``depth`` and ``position`` take the nearest sentence boundary. But for ``ordered`` facts come in
random order. A training may have some of the last ``ordered`` facts near the end: ``LateFacts``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput

KINDS = ("free", "segment-start", "start", "ordered", "depth", "position")
ACCEPTED = "free, segment-start, start, ordered, depth:0 to depth:1 or position:TOKENS"
Positions = npt.NDArray[np.int64]
_TRIES = 64
_NEAREST = 8


@dataclass(frozen=True, slots=True)
class Room:
    """Describes the room for the facts and the question of a sample."""

    tokens: int
    segment_tokens: int
    question_tokens: int

    def whole(self, position: int, length: int) -> bool:
        """Returns whether a fact at ``position`` lies in one segment."""
        offset = (position - self.tokens) % self.segment_tokens
        return offset + length <= self.segment_tokens

    def packed(self, lengths: Sequence[int]) -> list[int]:
        """Puts facts as close to the question as can be; positions below 0 mean no room."""
        positions, stop = [], self.tokens - self.question_tokens
        for length in reversed(lengths):
            start = stop - length
            if not self.whole(start, length):  # ends where the segment before ends
                start = stop - (stop - self.tokens) % self.segment_tokens - length
            positions.append(start)
            stop = start
        return positions[::-1]


@dataclass(frozen=True, slots=True)
class LateFacts:
    """Says that a story's last facts stand in the last part of the input, the others before it."""

    most: int
    """0 to so many of them, each number as likely."""
    tokens: int
    """Tokens of that part, the question among them."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One of the ways above; ``amount`` is the depth or the position."""

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, text: object) -> Placement:
        """``free``, ``depth:0.5``, ``position:1000``, ...

        Raises:
            BadInput: anything else.
        """
        kind, colon, amount = text.partition(":") if isinstance(text, str) else ("", "", "")
        if kind in KINDS[:4] and not colon:
            return cls(kind)
        if kind == "depth" and amount.replace(".", "", 1).isdecimal() and float(amount) <= 1:
            return cls(kind, float(amount))
        if kind == "position" and amount.isdecimal():
            return cls(kind, float(amount))
        raise BadInput(f"placement {text!r}: expected {ACCEPTED}")

    def positions(
        self,
        rng: np.random.Generator,
        lengths: Sequence[int],
        starts: npt.NDArray[np.int64],
        room: Room,
        late: LateFacts | None = None,
    ) -> list[int]:
        """Returns the position of each fact, in the order of ``lengths``.

        Args:
            rng: source of chance.
            lengths: tokens of each fact; the first one gives the answer.
            starts: sentence starts of the noise that fills the rest.
            room: what they go into; ``packed`` says that they fit.
            late: of ``ordered`` facts, keeps some of the last near the question.

        Raises:
            BadInput: late facts that are not ``ordered``.
        """
        if late is not None and self.kind != "ordered":
            raise BadInput(f"late facts placed {self.kind}: expected ordered, others have no last")
        if self.kind == "ordered":
            noise = room.tokens - room.question_tokens - sum(lengths)
            ends = np.append(starts, noise)
            if late is not None:
                return _in_two_parts(rng, lengths, ends, room, late)
            in_text: list[int] = in_order(rng, lengths, len(ends), ends.__getitem__).tolist()
            return in_text
        order = list(range(len(lengths)))
        if len(order) > 1:
            order = rng.permutation(len(order)).tolist()
        ordered = [lengths[index] for index in order]
        if self.kind == "start":
            by_order = _from_the_start(ordered, room)
            return [by_order[order.index(index)] for index in range(len(order))]
        for attempt in range(_TRIES):
            if self.kind == "segment-start":
                drawn = _at_segment_starts(rng, lengths, order, room)
            else:
                drawn = self._at_boundaries(rng, lengths, order, starts, room, attempt)
            if drawn is not None:
                return drawn
        by_order = room.packed(ordered)
        return [by_order[order.index(index)] for index in range(len(order))]

    def _at_boundaries(
        self,
        rng: np.random.Generator,
        lengths: Sequence[int],
        order: Sequence[int],
        starts: npt.NDArray[np.int64],
        room: Room,
        attempt: int,
    ) -> list[int] | None:
        """One draw; None where it would cut a fact."""
        noise = room.tokens - room.question_tokens - sum(lengths)
        offsets = []
        for _ in lengths:
            index = int(rng.random() * (len(starts) + 1))
            offsets.append(int(starts[index]) if index < len(starts) else noise)
        if self.kind in ("depth", "position"):
            far = (1 - self.amount) * noise if self.kind == "depth" else min(self.amount, noise)
            offsets[0] = _near(starts, noise, far, attempt * _NEAREST // _TRIES)
        positions, shift = [0] * len(lengths), 0
        for index in sorted(order, key=offsets.__getitem__):  # stable: ties in random order
            positions[index] = offsets[index] + shift
            shift += lengths[index]
            if not room.whole(positions[index], lengths[index]):
                return None
        return positions


def in_order(
    rng: np.random.Generator,
    lengths: Sequence[int],
    boundaries: int,
    offsets: Callable[[Positions], Positions],
) -> Positions:
    """Returns the positions of facts that stay in their order, each boundary as likely.

    Args:
        rng: source of chance.
        lengths: tokens of each fact.
        boundaries: number of places between sentences of the noise, the end of the noise included.
        offsets: finds the offsets in the noise of some boundaries, which are ascending.
    """
    chosen = np.sort((rng.random(len(lengths)) * boundaries).astype(np.int64))
    before = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
    return offsets(chosen) + before


def _in_two_parts(
    rng: np.random.Generator, lengths: Sequence[int], ends: Positions, room: Room, late: LateFacts
) -> list[int]:
    """Returns the positions of facts, some of the last in the part that ``late`` describes.

    Each part is as ``in_order`` has it, and no fact stands in both. How many are late is drawn from
    the numbers with which both parts hold theirs; where none does, all stand anywhere.

    Args:
        rng: source of chance.
        lengths: tokens of each fact.
        ends: offsets in the noise between its sentences, ascending, the end of the noise included.
        room: what they go into.
        late: how many, and where.
    """
    begin = room.tokens - late.tokens
    before = np.cumsum([0, *lengths], dtype=np.int64)
    firsts = np.arange(len(lengths), max(len(lengths) - late.most, 0) - 1, -1)
    """Numbers that the first late fact may have."""
    left = late.tokens - room.question_tokens - (before[-1] - before[firsts])
    firsts = firsts[(ends[0] + before[firsts] <= begin) & (left >= 0)]
    if not len(firsts):
        anywhere: list[int] = in_order(rng, lengths, len(ends), ends.__getitem__).tolist()
        return anywhere
    first = int(firsts[int(rng.random() * len(firsts))])
    split = begin - int(before[first])
    """Offset in the noise where the last part begins: a boundary there belongs to both."""
    stop, start = np.searchsorted(ends, split, "right"), np.searchsorted(ends, split, "left")
    early = in_order(rng, lengths[:first], int(stop), ends.__getitem__)
    last = in_order(rng, lengths[first:], len(ends) - int(start), ends[start:].__getitem__)
    return [*early.tolist(), *(last + before[first]).tolist()]


def _near(starts: npt.NDArray[np.int64], noise: int, far: float, rank: int) -> int:
    """Returns the sentence boundary that is ``rank``-th nearest to ``far``."""
    index = int(np.searchsorted(starts, far))
    around: set[int] = {*starts[max(index - rank - 1, 0) : index + rank + 1].tolist(), noise}
    ranked = sorted(around, key=lambda offset: (abs(offset - far), offset))
    return ranked[min(rank, len(ranked) - 1)]


def _from_the_start(ordered: Sequence[int], room: Room) -> list[int]:
    positions, cursor = [], 0
    for length in ordered:
        if not room.whole(cursor, length):  # the segment's rest is too short: the next one
            cursor += (room.tokens - cursor) % room.segment_tokens
        positions.append(cursor)
        cursor += length
    return positions


def _at_segment_starts(
    rng: np.random.Generator, lengths: Sequence[int], order: Sequence[int], room: Room
) -> list[int] | None:
    """One draw; None where the facts of a segment do not fit into it."""
    segments = -(-room.tokens // room.segment_tokens)
    chosen = [int(rng.random() * segments) for _ in lengths]
    positions = [0] * len(lengths)
    used: dict[int, int] = {}
    for index in order:
        segment = chosen[index]
        stop = room.tokens - (segments - 1 - segment) * room.segment_tokens
        start = max(stop - room.segment_tokens, 0) + used.get(segment, 0)
        limit = stop - room.question_tokens if segment == segments - 1 else stop
        if start + lengths[index] > limit:
            return None
        positions[index] = start
        used[segment] = used.get(segment, 0) + lengths[index]
    return positions
