"""Records of a probe of one length: right answers, their margins, the memory on the way there.

The question is asked early, after 1, 2, 4, ... segments; a margin is the logit of the right answer
less that of the best other one.
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_QUANTILES = (0.0, 0.05, 0.5)
"""The lowest margin, the 5th percentile and the median."""
KEPT = 0.5
"""A margin is kept that is at least this share of what it was once the memory had settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Right answers among some samples."""

    label: str
    correct: int
    samples: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.samples or not self.samples:
            raise ValueError("share: expected one sample or more, no more of them right")

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Margins and memory after some segments, of the samples whose facts had all been read.

    A sample has settled at the first question four segments after its last fact or later. Changes
    and distances are root mean squares over the numbers of the memory, sink tokens aside.
    """

    segments: int
    samples: int
    quantiles: tuple[float, ...]
    """Lowest margin, 5th percentile and median."""
    state_rms: float
    """The numbers of the memory themselves."""
    change_rms: float
    """Change of a number over the last of these segments."""
    settled_samples: int
    """Those that had settled at an earlier question."""
    moved_rms: float | None
    """Distance of a number of these from where it was then; None where there are none."""

    def __post_init__(self) -> None:
        if len(self.quantiles) != len(MARGIN_QUANTILES):
            raise ValueError(f"quantiles: expected {len(MARGIN_QUANTILES)} margins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Holds what became of margins that were right once the memory had settled."""

    samples: int
    """Samples that settled at an earlier question and were right then."""
    wrong_samples: int
    """Samples that settled at an earlier question and were wrong then; in none of the rest."""
    settled_quantiles: tuple[float, ...]
    """Lowest margin then, 5th percentile and median; empty where no answer was right."""
    end_quantiles: tuple[float, ...]
    """Lowest margin of the last question, 5th percentile and median."""
    kept_samples: int
    """Samples whose margin is at least half of what it was."""
    drifted_samples: int
    """Samples of the others whose memory is farther from where it was than any two segments since
    could have moved it: none of their segments overwrote it alone, it drifted."""

    def __post_init__(self) -> None:
        expected = len(MARGIN_QUANTILES) if self.samples else 0
        for quantiles in (self.settled_quantiles, self.end_quantiles):
            if len(quantiles) != expected:
                raise ValueError(f"quantiles of {self.samples} samples: expected {expected}")
        if self.kept_samples + self.drifted_samples > self.samples:
            raise ValueError(f"kept and drifted: expected {self.samples} samples or fewer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Holds what one length shows."""

    segments: int
    samples: int
    by_depth: tuple[Share, ...]
    """Shares by the segments between the fact that gives the answer and the question."""
    by_place: tuple[Share, ...]
    """Shares by the fact's place in its segment, in quarters."""
    after_segments: tuple[Share, ...]
    """Asked early: after so many segments, among the samples whose facts had all been read."""
    moved_share: dict[str, float]
    """Memory tokens whose state changed in a segment, by that segment (from 1, powers of two)."""
    broke_at: tuple[int | None, ...]
    """For each sample, the first of those moments from which on the answer was wrong; None where
    it was right at the end."""
    margins: tuple[Margins, ...]
    """For each entry of ``after_segments``, in their order."""
    held: Held | None
    """None where no sample settled before the last question."""

    def __post_init__(self) -> None:
        asked = [share.label for share in self.after_segments]
        if asked != [str(own.segments) for own in self.margins]:
            raise ValueError("margins: expected them after as many segments as the shares")
        if self.held is not None and not self.margins:
            raise ValueError("held: expected margins too")
