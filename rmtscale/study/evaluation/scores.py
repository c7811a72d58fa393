"""Losses added up on the host: by cluster for each part of what is scored, and by position.

Shape legend: B batch, S scored tokens of a sample, P positions.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rmtscale.study.records.clusters import Part

Losses = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class ClusterSums:
    """Tokens, bytes and losses of one part, by cluster, in float64."""

    def __init__(self) -> None:
        self._tokens: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self._nats: dict[int, float] = {}

    def add(
        self,
        clusters_B: npt.NDArray[np.int64],
        counted_BS: Mask,
        losses_BS: Losses,
        bytes_BS: npt.NDArray[np.int32],
    ) -> None:
        """A batch; what is not counted is left out, a cluster is known from then on anyway."""
        tokens_B = counted_BS.sum(1)
        text_bytes_B = np.where(counted_BS, bytes_BS, 0).sum(1, dtype=np.int64)
        nats_B = np.where(counted_BS, losses_BS, 0).sum(1, dtype=np.float64)
        for cluster, tokens, text_bytes, nats in zip(
            clusters_B.tolist(),
            tokens_B.tolist(),
            text_bytes_B.tolist(),
            nats_B.tolist(),
            strict=True,
        ):
            self._tokens[cluster] = self._tokens.get(cluster, 0) + tokens
            self._bytes[cluster] = self._bytes.get(cluster, 0) + text_bytes
            self._nats[cluster] = self._nats.get(cluster, 0.0) + nats

    def part(self) -> Part:
        """One entry a cluster, in the order of their numbers."""
        clusters = sorted(self._tokens)
        return Part(
            tokens=tuple(self._tokens[cluster] for cluster in clusters),
            text_bytes=tuple(self._bytes[cluster] for cluster in clusters),
            loss_nats=tuple(self._nats[cluster] for cluster in clusters),
        )


class PositionSums:
    """Losses by position, of samples whose last P scored tokens stand at the same ones."""

    def __init__(self, positions: int) -> None:
        self._tokens_P = np.zeros(positions, dtype=np.int64)
        self._nats_P = np.zeros(positions)

    def add(self, counted_BS: Mask, losses_BS: Losses) -> None:
        """A batch."""
        positions = len(self._nats_P)
        counted_BP, losses_BP = counted_BS[:, -positions:], losses_BS[:, -positions:]
        self._tokens_P += counted_BP.sum(0)
        self._nats_P += np.where(counted_BP, losses_BP, 0).sum(0, dtype=np.float64)

    def means(self) -> tuple[float, ...]:
        """Mean loss at each position, first to last."""
        means: Iterable[float] = (self._nats_P / self._tokens_P).tolist()
        return tuple(means)
