"""An RMT that is read segment by segment: what the models in training have in common.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
K positions that are read out of a segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.capturable import draws
from rmtscale.rmt.recurrence import Piece
from rmtscale.rmt.state_by_state import Results, Segment, run_by_state


class SegmentReader(nn.Module, ABC):
    """The step of one segment, compiled if asked.

    Args:
        rmt: decoder or encoder.
        compile_step: compile the step of a full segment.
    """

    def __init__(self, rmt: RMTPreTrainedModel, *, compile_step: bool = False) -> None:
        super().__init__()
        self.rmt = rmt
        self.cut = False
        """Whether a process has parts of the weights only: nothing is compiled or captured then."""
        self._compiled = torch.compile(self._step, dynamic=False) if compile_step else None

    def require_cuttable(self) -> None:
        """Raises ``BadInput`` where not all of its weights can be cut: those that are not the
        RMT's."""

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
        return self.rmt.initial_state(batch)

    @property
    def by_state(self) -> bool:
        """Differentiate state by state, in training: of sharded weights, where gradients of all
        segments in one graph would wait whole for the first segment."""
        return self.rmt.sharded and torch.is_grad_enabled()

    @abstractmethod
    def _step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after a segment, and what is read out of it, (B, K, E)."""

    def step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """One segment: the state after it, and what is read out of it."""
        if self.cut:
            return self.rmt.gathered(self._step, state_BME, ids_BL)
        if self._compiled is None or ids_BL.shape[1] != self.segment_tokens:
            return self._step(state_BME, ids_BL)
        # Slices have the strides of the whole input; for each it would be compiled anew.
        new_BME, read_BKE = self._compiled(state_BME.contiguous(), ids_BL.contiguous())
        return new_BME, read_BKE

    def run_by_state(
        self, segment: Segment, inputs: Iterable[Piece], state_BME: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Runs segments, each with sharded weights in place, as ``state_by_state.run_by_state``
        does: the sum of their losses, the last logits and the state, (B, M, E)."""

        def copied(own_BME: Tensor, piece: Piece) -> Results:
            new_BME, loss, kept = segment(own_BME, piece)
            # As ``recur`` has it; of a view FSDP2 would keep all hidden states, and warns.
            return new_BME.to(state_BME.dtype, copy=True), loss, kept

        def one(own_BME: Tensor, piece: Piece) -> Results:
            return self.rmt.gathered(copied, own_BME, piece)

        return run_by_state(
            one,
            list(inputs),
            state_BME,
            self.rmt.parameters(),
            keep_rng=draws(self.rmt),
            sharded=self.rmt,
        )


def slices(ids_BN: Tensor, bounds: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    """Yields the pieces of an input whose rows are all full."""
    for begin, end in bounds:
        last = end == ids_BN.shape[1]
        yield Piece(ids_BN[:, begin:end], None, None, None, None, begin, last)
