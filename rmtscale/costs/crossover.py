"""From which length on RMT is faster: an interval, for what may be off moves it.

Which of two ways is faster depends on errors that they do not share: the host's speed of the day,
what attention really takes at a length, and a few per cent between kernels of segments and kernels
of the whole input. The search is made anew for each of these, and the interval is between the
earliest and the latest length found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rmtscale.costs.breakeven import LONGEST_TOKENS, break_even_tokens
from rmtscale.costs.time.constants import FASTER_HOST, HOST_SPREAD
from rmtscale.costs.time.device_time import Factors
from rmtscale.costs.time.step_time import StepTime
from rmtscale.units import format_tokens

APART = 1.06
"""Kernels of segments and of the whole input may be predicted so far apart."""
_ATTENTION = 1.12
"""And attention, which grows with the square, be off by this."""
_ROUGH = 8.0
"""Full attention of an odd length was seen to take up to twice as long as that of a longer one,
whose matrices are aligned; more on a machine that likes them less."""


class Crossover(NamedTuple):
    """Between which lengths the answer changes."""

    least_tokens: int | None
    """It is not faster before; None: at no length."""
    most_tokens: int | None
    """It is faster from here on; None: not known, it may never be."""

    @property
    def short(self) -> str:
        """The interval as it stands in a table."""
        if self.least_tokens is None:
            return "never"
        if self.most_tokens is None:
            return f"{format_tokens(self.least_tokens)} or never"
        if self.most_tokens == self.least_tokens:
            return format_tokens(self.least_tokens)
        return f"{format_tokens(self.least_tokens)} to {format_tokens(self.most_tokens)}"

    @property
    def words(self) -> str:
        """The interval as it is printed."""
        if self.least_tokens is None:
            return f"not by {format_tokens(LONGEST_TOKENS)}"
        if self.most_tokens is None:
            return f"not before {format_tokens(self.least_tokens)}, perhaps never"
        if self.most_tokens == self.least_tokens:
            return f"from {format_tokens(self.least_tokens)}"
        return f"between {format_tokens(self.least_tokens)} and {format_tokens(self.most_tokens)}"


def faster_from(
    full: Callable[[int], StepTime], rmt: Callable[[int], StepTime], segment_tokens: int
) -> Crossover:
    """The lengths between which an RMT becomes the faster of the two.

    Args:
        full, rmt: time of an input of so many tokens; asked for again and again.
        segment_tokens: text tokens of a full segment.
    """
    found = [
        break_even_tokens(
            lambda tokens, host=host, both=both: full(tokens).where(host, both),  # type: ignore[misc]
            lambda tokens, host=host, alone=alone: rmt(tokens).where(host, alone),  # type: ignore[misc]
            segment_tokens,
            rough=_ROUGH,
        )
        for host, both, alone in _cases()
    ]
    there = [one for one in found if one is not None]
    most = max(there) if len(there) == len(found) else None
    return Crossover(min(there, default=None), most)


def _cases() -> Iterator[tuple[float, Factors, Factors]]:
    """The host, the device as full attention finds it, and as an RMT does."""
    for host in (1 / FASTER_HOST, 1.0, HOST_SPREAD):
        for sign in (-1, 1):  # all for an RMT, and all against it
            apart, attention = APART**sign, _ATTENTION**-sign
            both = Factors(1.0, attention, 1.0)
            yield host, both, Factors(apart, attention * apart, apart)
