"""Reads text of any length in constant device memory, and scores its last tokens.

Shape legend: B batch, N text columns of the input, L segment tokens, S scored tokens of a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.rolling import Roller


class TextReader(Roller):
    """One predictor on one device.

    Args:
        predictor: set to evaluation mode, moved to the device.
        device: where it runs.
        precision: ``fp32``, or ``bf16`` (autocast, as in training; a GPU only).
        batch_size: of the segments that are captured; a smaller rest runs eagerly.
        compile_step: compile the step of a full segment that is captured.
        cuda_graph: False never captures a segment: what it needs is then seen by torch's
            allocator.

    Raises:
        BadInput: an unknown precision, or bf16 on a CPU.
    """

    def __init__(
        self,
        predictor: Predictor,
        device: torch.device,
        precision: str = "fp32",
        *,
        batch_size: int,
        compile_step: bool = False,
        cuda_graph: bool = True,
    ) -> None:
        super().__init__(
            predictor,
            device,
            precision,
            compile_step=compile_step,
            kept_tokens=predictor.segment_tokens,
            cuda_graph=cuda_graph,
            batch_size=batch_size,
        )
        self.predictor, self.batch_size = predictor, batch_size

    @torch.no_grad()
    def token_losses(
        self, ids: npt.NDArray[Any], targets: npt.NDArray[np.int64], scored_tokens: int
    ) -> Tensor:
        """Computes the loss of each of the last tokens in nats, (B, S) in fp32; 0 where ignored.

        The numbers of ``Predictor.token_losses``, in memory that does not depend on N.

        Args:
            ids: (B, N), on the host.
            targets: (B, N), the token after each; ``-100`` is not scored.
            scored_tokens: S.

        Raises:
            BadInput: no scored tokens, or more than there are.
        """
        predictor, first = self.predictor, ids.shape[1] - scored_tokens
        bounds = predictor.bounds(ids.shape[1], scored_tokens)
        before = [(begin, end) for begin, end in bounds if end <= first]
        losses = []
        with self.autocast():
            state_BME = self.roll(predictor.initial(ids.shape[0]), ids, before)
            scored = bounds[len(before) :]
            for (begin, end), ids_BL in zip(scored, self.segments(ids, scored), strict=True):
                start = max(begin, first)
                state_BME, text_BLE = self.advance(state_BME, ids_BL)
                targets_BK = self.on_device(targets[:, start:end])
                losses.append(predictor.losses(text_BLE[:, start - begin :], targets_BK))
        return torch.cat(losses, dim=1)

    def warm_up(self, scored_tokens: int) -> None:
        """Two segments, so that kernels are loaded and the step is captured."""
        zeros = np.zeros((self.batch_size, 2 * self.predictor.segment_tokens), dtype=np.int64)
        self.token_losses(zeros, zeros, min(scored_tokens, zeros.shape[1]))
