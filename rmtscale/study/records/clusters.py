"""Losses summed by cluster (document, source file), and intervals that respect the clusters.

Tokens of one document are not independent of one another: an interval over single tokens would be
far too narrow. Here the cluster is the unit, and two readings of the same tokens are compared
cluster by cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rmtscale.intervals import student_t

_NATS_PER_BIT = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Scored tokens and their loss, one entry a cluster."""

    tokens: tuple[int, ...]
    text_bytes: tuple[int, ...]
    """UTF-8 bytes these tokens stand for."""
    loss_nats: tuple[float, ...]
    """Summed over the cluster's tokens."""

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.text_bytes) == len(self.loss_nats):
            raise ValueError("clusters: expected as many tokens as bytes and losses")

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens)

    @property
    def mean_nats(self) -> float:
        """Loss per token. NaN where nothing was scored."""
        return sum(self.loss_nats) / self.total_tokens if self.total_tokens else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean_nats)

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers."""
        total = sum(self.text_bytes)
        return sum(self.loss_nats) / (_NATS_PER_BIT * total) if total else math.nan


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def mean_interval(part: Part) -> Interval:
    """Loss per token and its interval over clusters."""
    return _interval(part.tokens, part.loss_nats)


def bits_interval(part: Part) -> Interval:
    """Bits per byte and their interval over clusters."""
    return _bits(part.text_bytes, part.loss_nats)


def paired_difference(first: Part, second: Part) -> Interval:
    """``first - second`` in bits per byte, where both scored the same tokens.

    Raises:
        ValueError: they did not.
    """
    if first.tokens != second.tokens:
        raise ValueError("two readings of different tokens: expected the same tokens by cluster")
    differences = [a - b for a, b in zip(first.loss_nats, second.loss_nats, strict=True)]
    return _bits(first.text_bytes, differences)


def _bits(text_bytes: Sequence[int], sums_nats: Sequence[float]) -> Interval:
    return _interval(text_bytes, [total / _NATS_PER_BIT for total in sums_nats])


def _interval(counts: Sequence[int], sums: Sequence[float]) -> Interval:
    """Computes ``sum(sums) / sum(counts)`` with the interval of a ratio of cluster totals.

    Source: Cochran 1977, Sampling Techniques, equation 6.12 (ratio estimate), with Student's t on
    clusters - 1 degrees of freedom. One cluster alone has no interval.
    """
    pairs = [(count, total) for count, total in zip(counts, sums, strict=True) if count]
    if not pairs:
        return Interval(math.nan, math.nan, math.nan)
    clusters, whole = len(pairs), sum(count for count, _ in pairs)
    mean = sum(total for _, total in pairs) / whole
    if clusters < 2:
        return Interval(mean, -math.inf, math.inf)
    spread = sum((total - mean * count) ** 2 for count, total in pairs)
    error = math.sqrt(clusters / (clusters - 1) * spread) / whole
    half = student_t(clusters - 1) * error
    return Interval(mean, mean - half, mean + half)
