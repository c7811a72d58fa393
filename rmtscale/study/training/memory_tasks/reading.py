"""Reads any number of segments in constant device memory and answers.

Shape legend: B batch, N text columns of the input, M memory, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rmtscale.rmt.segmenting import cut
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.streamed import Columns
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.rolling import Roller
from rmtscale.study.training.share import ALL, Share


class Reader(Roller):
    """One answerer on one device.

    Args:
        answerer: set to evaluation mode, moved to the device.
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
        super().__init__(answerer, device, precision, compile_step=compile_step)
        self.answerer = answerer

    @torch.no_grad()
    def logits(self, ids: Columns) -> Tensor:
        """Logits of the classes after the last token, (B, C)."""
        with self.autocast():
            answerer = self.answerer
            bounds = cut(ids.shape[1], answerer.segment_tokens)
            state_BME = self.roll(answerer.initial(ids.shape[0]), ids, bounds[:-1])
            begin, end = bounds[-1]
            _, read_BTE = answerer.step(state_BME, self.on_device(ids[:, begin:end]))
            logits_BC: Tensor = answerer.answer(read_BTE)
        return logits_BC

    @torch.no_grad()
    def accuracy(self, batches: Batches, samples: int, share: Share = ALL) -> float:
        """Measures the share of right answers over whole batches, at least ``samples``, with one
        wait for the device; several processes read some of the batches each."""
        count = math.ceil(samples / batches.batch_size)
        right = torch.zeros((), dtype=torch.long, device=self.device)
        for index, counted in share.dealt(range(count)):
            batch = batches.batch(index)
            found = (self.logits(batch.ids).argmax(1) == self.on_device(batch.answers)).sum()
            right += found * counted
        return int(share.total(right)) / (count * batches.batch_size)
