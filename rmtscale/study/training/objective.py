"""Objective: what a training optimizes, as the loop sees it.

There are two: answers about facts in noise (``memory_tasks/objective.py``) and the next token of a
text (``language/objective.py``); ``kinds.py`` says which task has which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.curriculum import Draw, Progress, Stage
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.segment_reader import SegmentReader
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.share import ALL, Share


class Objective(ABC):
    """Data, model, curriculum and validation of one training."""

    settings: LoopSettings
    stages: tuple[Stage, ...]
    learner: SegmentReader
    """``(*inputs) -> loss``, or loss and right answers; on the CPU at first."""
    data_digest: str = ""
    """Digest of tokenizer and text; empty where they follow from settings and vocabulary."""
    steps_before: int = 0
    """Steps of the checkpoint whose task is gone on with; 0 where something new begins."""
    learned_before: tuple[dict[str, object], ...] = ()
    """Settings of the trainings that made these steps (``memory_tasks/learned.py``)."""
    weights_before: str = ""
    """Digest of the weights of that checkpoint."""
    measure: ClassVar[str]
    """Measure of a validation: ``accuracy`` or ``loss``."""

    @abstractmethod
    def ema_copy(self) -> SegmentReader:
        """Copies the model for the EMA weights; called before the learner is cut."""

    @abstractmethod
    def batch(self, step: int, current: int) -> Batch:
        """Returns the whole batch of a step, a function of seed, step and stage alone."""

    def scored(self, batch: Batch) -> int:
        """Counts what the loss of a batch, or of some rows of it, is the mean over: the rows."""
        return len(batch.inputs[0])

    def inputs(self, batch: Batch, device: torch.device) -> tuple[Any, ...]:
        """Puts the arguments of the learner on the device."""
        return (*batch.to(device), batch.constant)

    @abstractmethod
    def advance(self, progress: Progress, steps: int, accuracy: float | None) -> Progress:
        """Progress after an interval of so many steps."""

    @abstractmethod
    def validate(
        self, ema: nn.Module, stage: Stage, device: torch.device, share: Share = ALL
    ) -> dict[str, float]:
        """Accuracy or loss by number of segments, on validation text; each process reads a part."""

    @abstractmethod
    def export(self, folder: Path, ema: nn.Module, trained: Trained) -> None:
        """Writes a checkpoint."""

    def sample_flops(self, draw: Draw) -> int | None:
        """FLOPs of a training step for each sample, by the estimator; None where not counted."""
        del draw
        return None

    def score(self, found: dict[str, float]) -> float:
        """Turns a validation into one number, higher is better."""
        mean = sum(found.values()) / len(found)
        return mean if self.measure == "accuracy" else -mean
