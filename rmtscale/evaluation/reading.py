"""Reads any number of segments in constant device memory and answers.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
C classes.

Token ids stay on the host; a few segments at a time are on the device. A decoder's full segment is
one captured CUDA graph where there is CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.graph import SegmentStep
from rmtscale.rmt.segmenting import cut
from rmtscale.training.answerer import Answerer
from rmtscale.units import require_one_of

_CHUNK_SEGMENTS = 4
PRECISIONS = ("fp32", "bf16")


class Reader:
    """One answerer on one device.

    Args:
        answerer: in evaluation mode; moved to the device.
        device: where it runs.
        precision: ``fp32``, or ``bf16`` (autocast, as in training; a GPU only).
        compile_step: compile the step of a full segment.

    Raises:
        BadInput: an unknown precision, or bf16 on a CPU.
    """

    def __init__(
        self,
        answerer: Answerer,
        device: torch.device,
        precision: str = "fp32",
        *,
        compile_step: bool = False,
    ) -> None:
        require_one_of("precision", precision, PRECISIONS)
        if precision == "bf16" and device.type == "cpu":
            raise BadInput("precision 'bf16' on a CPU: expected fp32")
        self.answerer = answerer.to(device).eval()
        self.device, self.precision = device, precision
        self._compile = compile_step
        self._steps: dict[int, SegmentStep] = {}

    def autocast(self) -> AbstractContextManager[Any]:
        """The context everything runs in."""
        if self.precision == "fp32":
            return nullcontext()
        # Weights that are cast once and kept would be outside of a captured graph.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)

    @torch.no_grad()
    def logits(self, ids: npt.NDArray[Any]) -> Tensor:
        """Logits of the classes after the last token, (B, C)."""
        with self.autocast():
            answerer = self.answerer
            bounds = cut(ids.shape[1], answerer.segment_tokens)
            state_BME = self.roll(answerer.initial(ids.shape[0]), ids, bounds[:-1])
            begin, end = bounds[-1]
            _, read_BTE = answerer.step(state_BME, self._on_device(ids[:, begin:end]))
            logits_BC: Tensor = answerer.answer(read_BTE)
        return logits_BC

    @torch.no_grad()
    def roll(
        self, state_BME: Tensor, ids: npt.NDArray[Any], bounds: list[tuple[int, int]]
    ) -> Tensor:
        """The state after some segments, (B, M, E)."""
        with self.autocast():
            for ids_BL in self._segments(ids, bounds):
                state_BME = self._advance(state_BME, ids_BL)
        return state_BME

    def _segments(self, ids: npt.NDArray[Any], bounds: list[tuple[int, int]]) -> Iterator[Tensor]:
        for first in range(0, len(bounds), _CHUNK_SEGMENTS):
            chunk = bounds[first : first + _CHUNK_SEGMENTS]
            start = chunk[0][0]
            ids_BK = self._on_device(ids[:, start : chunk[-1][1]])
            for begin, end in chunk:
                yield ids_BK[:, begin - start : end - start]

    def _advance(self, state_BME: Tensor, ids_BL: Tensor) -> Tensor:
        answerer = self.answerer
        full = ids_BL.shape[1] == answerer.segment_tokens
        if not (full and answerer.decoder and self.device.type == "cuda"):
            new_BME, _ = answerer.step(state_BME, ids_BL)
            return new_BME.to(state_BME.dtype, copy=True)
        step = self._steps.get(ids_BL.shape[0])
        if step is None:
            model: Any = answerer.rmt
            step = SegmentStep(model, ids_BL.shape[0], compile_step=self._compile)
            self._steps[ids_BL.shape[0]] = step
        if state_BME is not step.state_BME:
            step.start(state_BME)
        step(ids_BL)
        after_BME: Tensor = step.state_BME
        return after_BME

    def _on_device(self, ids: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(ids).to(self.device)
