"""Which text tokens of which sample the backbone sees in which recurrent step. Pure, on the host.

Shape legend: B batch, N text columns of the input, L segment tokens, S segments (steps).

Every sample is cut by its own length. Right-aligned (the paper): all segments are full but for
the first. Left-aligned: all are full but for the last. A sample with fewer segments than the
batch skips the *early* steps, so that every sample ends in the last step: the answer, the last
logits and a cut of truncated BPTT are then in the same place for all of them, and a batch computes
what its samples do one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.units import require_one_of, require_positive

ALIGNMENTS = ("right", "left")
"""``right``: the first segment is the shorter one (the paper); ``left``: the last one is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recurrent step of a batch."""

    rows: tuple[int, ...]
    """Samples that take part, ascending."""
    starts: tuple[int, ...]
    """Column of the input where the text of each of them starts in this step."""
    lengths: tuple[int, ...]
    """Text tokens each of them has in this step; at least 1."""

    @property
    def tokens(self) -> int:
        """Text tokens of the longest row."""
        return max(self.lengths)

    def uniform(self, batch: int) -> bool:
        """Whether all samples take part with the same columns: a plain slice, no gather."""
        return (
            len(self.rows) == batch and len(set(self.starts)) == 1 and len(set(self.lengths)) == 1
        )


def cut(length: int, segment_tokens: int, alignment: str = "right") -> list[tuple[int, int]]:
    """Returns ``(start, stop)`` of the segments of one sample of ``length`` text tokens.

    Raises:
        BadInput: a length or a segment of no tokens, or an unknown alignment.
    """
    require_positive("length", length)
    require_positive("segment tokens", segment_tokens)
    require_one_of("alignment", alignment, ALIGNMENTS)
    first = (length % segment_tokens or segment_tokens) if alignment == "right" else segment_tokens
    stops = [*range(first, length, segment_tokens), length]
    return list(zip([0, *stops[:-1]], stops, strict=True))


def plan(
    lengths: Sequence[int],
    segment_tokens: int,
    alignment: str = "right",
    offsets: Sequence[int] | None = None,
) -> tuple[Step, ...]:
    """Returns the steps of a batch whose samples have ``lengths`` text tokens.

    Args:
        lengths: text tokens of each sample.
        segment_tokens: text tokens of a full segment.
        alignment: ``right`` or ``left``.
        offsets: column where the text of each sample starts (left padding); 0 by default.

    Raises:
        BadInput: a sample of no tokens, named by its row.
    """
    for row, length in enumerate(lengths):
        if length < 1:
            raise BadInput(f"sample {row} has {length} text tokens: expected 1 or more")
    offsets = [0] * len(lengths) if offsets is None else offsets
    cuts = [cut(length, segment_tokens, alignment) for length in lengths]
    steps = max(len(pieces) for pieces in cuts)
    planned = []
    for index in range(steps):
        rows, starts, sizes = [], [], []
        for row, pieces in enumerate(cuts):
            number = index - (steps - len(pieces))
            if number >= 0:
                start, stop = pieces[number]
                rows.append(row)
                starts.append(offsets[row] + start)
                sizes.append(stop - start)
        planned.append(Step(tuple(rows), tuple(starts), tuple(sizes)))
    return tuple(planned)


def windows(steps: int, bptt_segments: int | None) -> list[range]:
    """Returns the step ranges gradients flow back through, counted from the end.

    With ``bptt_segments=k`` the last window holds the last k steps, the one before the k before,
    and the first one what is left. None is one window over everything (full BPTT).
    """
    if bptt_segments is None:
        return [range(steps)]
    first = steps % bptt_segments or min(bptt_segments, steps)
    stops = [*range(first, steps, bptt_segments), steps]
    return [range(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]
