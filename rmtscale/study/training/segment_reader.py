"""An RMT that is read segment by segment: what the models in training have in common.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
K positions that are read out of a segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.recurrence import Piece


class SegmentReader(nn.Module, ABC):
    """The step of one segment, compiled if asked.

    Args:
        rmt: decoder or encoder.
        compile_step: compile the step of a full segment.
    """

    def __init__(self, rmt: RMTPreTrainedModel, *, compile_step: bool = False) -> None:
        super().__init__()
        self.rmt = rmt
        self._compiled = torch.compile(self._step, dynamic=False) if compile_step else None

    @property
    def segment_tokens(self) -> int:
        """L."""
        return self.rmt.segment_tokens

    @property
    def recomputes(self) -> bool:
        """One activation checkpoint per segment, in training."""
        return bool(self.rmt.config.checkpoint_segments) and self.training

    def initial(self, batch: int) -> Tensor:
        """Returns the state before the first segment, (B, M, E)."""
        state_BME: Tensor = self.rmt.memory(self.rmt.get_input_embeddings().weight, batch)
        return state_BME

    @abstractmethod
    def _step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after a segment, and what is read out of it, (B, K, E)."""

    def step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """One segment: the state after it, and what is read out of it."""
        if self._compiled is None or ids_BL.shape[1] != self.segment_tokens:
            return self._step(state_BME, ids_BL)
        # Slices have the strides of the whole input; for each it would be compiled anew.
        new_BME, read_BKE = self._compiled(state_BME.contiguous(), ids_BL.contiguous())
        return new_BME, read_BKE


def slices(ids_BN: Tensor, bounds: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    """Yields the pieces of an input whose rows are all full."""
    for begin, end in bounds:
        last = end == ids_BN.shape[1]
        yield Piece(ids_BN[:, begin:end], None, None, None, None, begin, last)
