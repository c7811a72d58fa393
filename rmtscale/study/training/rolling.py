"""Reads any number of segments in constant device memory.

Shape legend: B batch, N text columns of the input, L segment tokens, R segments, M memory,
E embedding width, K positions that are read out of a segment.

Token ids stay on the host; a few segments at a time are on the device. A full segment is one
captured CUDA graph where there is CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.graph import SegmentStep
from rmtscale.steps import steps
from rmtscale.study.tasks.streamed import Columns
from rmtscale.study.training.device import autocast
from rmtscale.study.training.segment_reader import SegmentReader
from rmtscale.study.training.settings import PRECISIONS
from rmtscale.units import require_one_of

_CHUNK_SEGMENTS = 4


class Roller:
    """One model on one device.

    Args:
        model: set to evaluation mode, moved to the device.
        device: where it runs.
        precision: ``fp32``, or ``bf16`` (autocast, as in training; a GPU only).
        compile_step: compile the step of a full segment.
        kept_tokens: K of a decoder.
        cuda_graph: False never captures, and neither does a model that is cut.
        batch_size: of the segments that are captured; those of another size run eagerly. None
            captures one of each size.

    Raises:
        BadInput: an unknown precision, or bf16 on a CPU.
    """

    def __init__(
        self,
        model: SegmentReader,
        device: torch.device,
        precision: str = "fp32",
        *,
        compile_step: bool = False,
        kept_tokens: int = 1,
        cuda_graph: bool = True,
        batch_size: int | None = None,
    ) -> None:
        require_one_of("precision", precision, PRECISIONS)
        if precision == "bf16" and device.type == "cpu":
            raise BadInput("precision 'bf16' on a CPU: expected fp32")
        self.model = (model if model.cut else model.to(device)).eval()
        self.device, self.precision = device, precision
        self.compile_step, self._kept_tokens = compile_step, kept_tokens
        self.captures = cuda_graph and device.type == "cuda" and not model.cut
        self._batch_size = batch_size
        self.segment_steps: dict[int, SegmentStep] = {}
        """The captured step of each batch size."""

    def capture_only(self, batch_size: int) -> None:
        """Captures segments of this batch size alone from now on, and forgets those of others.

        A captured step holds memory for as long as it is kept, whoever reads with it or not.
        """
        self._batch_size = batch_size
        kept = self.segment_steps.get(batch_size)
        self.segment_steps = {} if kept is None else {batch_size: kept}

    def _forget_unfit(self) -> None:
        """Forgets captured steps of other weights or of another dead band than those of now."""
        kept = {size: step for size, step in self.segment_steps.items() if step.fits()}
        self.segment_steps = kept

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context everything runs in."""
        return autocast(self.device, self.precision)

    @torch.no_grad()
    def roll(self, state_BME: Tensor, ids: Columns, bounds: list[tuple[int, int]]) -> Tensor:
        """Returns the state after some segments, (B, M, E)."""
        self._forget_unfit()
        with self.autocast():
            for ids_BL in steps(self.segments(ids, bounds), total=len(bounds)):
                state_BME = self.advance(state_BME, ids_BL)[0]
        return state_BME

    @torch.no_grad()
    def states(self, state_BME: Tensor, ids: Columns, bounds: list[tuple[int, int]]) -> Tensor:
        """Returns the state before each of some segments and after the last, (R + 1, B, M, E)."""
        self._forget_unfit()
        found_RBME = state_BME.new_empty((len(bounds) + 1, *state_BME.shape))
        found_RBME[0] = state_BME
        with self.autocast():
            read = steps(self.segments(ids, bounds), total=len(bounds))
            for index, ids_BL in enumerate(read):
                state_BME = self.advance(state_BME, ids_BL)[0]
                found_RBME[index + 1] = state_BME
        return found_RBME

    def segments(self, ids: Columns, bounds: list[tuple[int, int]]) -> Iterator[Tensor]:
        """Yields the ids of segments that follow one another, (B, L) each, on the device."""
        for first in range(0, len(bounds), _CHUNK_SEGMENTS):
            chunk = bounds[first : first + _CHUNK_SEGMENTS]
            start = chunk[0][0]
            ids_BK = self.on_device(ids[:, start : chunk[-1][1]])
            for begin, end in chunk:
                yield ids_BK[:, begin - start : end - start]

    def advance(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after one segment, and what is read out of it, (B, K, E).

        On a GPU both are buffers that the next segment overwrites.
        """
        full = ids_BL.shape[1] == self.model.segment_tokens
        wanted = self._batch_size in (None, ids_BL.shape[0])
        if not (self.captures and full and wanted):
            new_BME, read_BKE = self.model.step(state_BME, ids_BL)
            return new_BME.to(state_BME.dtype, copy=True), read_BKE
        step = self.segment_steps.get(ids_BL.shape[0])
        if step is None:
            rmt: Any = self.model.rmt
            step = SegmentStep(
                rmt,
                ids_BL.shape[0],
                compile_step=self.compile_step,
                kept_tokens=self._kept_tokens,
            )
            self.segment_steps[ids_BL.shape[0]] = step
        if state_BME is not step.state_BME:
            step.start(state_BME)
        step(ids_BL)
        return step.state_BME, step.kept_BKE

    def on_device(self, values: npt.NDArray[Any]) -> Tensor:
        """Returns a copy of what the host has; the host does not wait for what runs before."""
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            tensor = tensor.contiguous().pin_memory()
        return tensor.to(self.device, non_blocking=True)
