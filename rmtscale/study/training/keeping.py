"""What is kept of a training: averaged weights, the best of them, and those at the end of a stage.

Shape legend: none; weights are taken whole.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.curriculum import Stage
from rmtscale.study.training.device import peak_allocated_bytes
from rmtscale.study.training.layout import BEST, LAST, STAGES
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.state import Facts

_CAUGHT_UP = 0.02
"""Averaged weights less the last ones, in accuracy or nats: more is no noise of a validation."""


def averaged_decay(settings: LoopSettings, step: int) -> float:
    """Of the averaged weights at a step: low at first, so that the random start is forgotten."""
    return min(settings.ema_decay, (1 + step) / (10 + step))


class Keeper:
    """The averaged weights of a training, and its checkpoints.

    Args:
        settings: of the training.
        folder: where checkpoints go.
        objective: validates and writes them.
        plain: the weights that are trained, where they stay.
        device: of the training.
    """

    def __init__(
        self,
        settings: LoopSettings,
        folder: Path,
        objective: Objective,
        plain: nn.Module,
        device: torch.device,
    ) -> None:
        self.settings, self.folder, self.objective = settings, folder, objective
        self.plain, self.device = plain, device
        self.averaged = objective.averaged()
        self.averaged.to(device).eval().requires_grad_(False)

    def follow(self, step: int) -> None:
        """Takes the weights after a step into the average."""
        average: Any = get_ema_multi_avg_fn(averaged_decay(self.settings, step))  # type: ignore[no-untyped-call]
        average(list(self.averaged.parameters()), list(self.plain.parameters()), None)

    def validate(self, stage: int) -> dict[str, float]:
        """What the averaged weights find on validation text, at the lengths of a stage."""
        return self.objective.validate(self.averaged, self._stage(stage), self.device)

    def keep_best(self, facts: Facts, stage: int, found: dict[str, float]) -> Facts:
        """A checkpoint, where none of this stage or a later one did better."""
        score = self.objective.score(found)
        # Of a longer stage is better, whatever it scored.
        known = -math.inf if facts.best_score is None else facts.best_score
        if (stage, score) < (facts.best_stage, known):
            return facts
        facts = replace(facts, best_stage=stage, best_score=score)
        self._export(BEST, facts, stage, found)
        return facts

    def keep_last(self, facts: Facts, stage: int, found: dict[str, float] | None) -> None:
        """A checkpoint of the end."""
        self._export(LAST, facts, stage, found)

    def keep_stage(self, facts: Facts, stage: int) -> None:
        """The weights at the end of a stage of whole segments, for Figure 4: the averaged ones,
        which carry further, or the last where a stage was too short for the average."""
        if not (self.settings.keep_stages and self._stage(stage).whole):
            return
        name = f"{STAGES}/segments-{self._stage(stage).segments}"
        found = self.validate(stage)
        self._swap()
        latest = self.validate(stage)
        averaged = self.objective.score(found) >= self.objective.score(latest) - _CAUGHT_UP
        if averaged:
            self._swap()
        self._export(name, facts, stage, found if averaged else latest, averaged=averaged)
        if not averaged:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchanges the averaged weights for the last ones, in place: captured steps read them."""
        pairs = zip(self.averaged.parameters(), self.plain.parameters(), strict=True)
        for averaged, plain in pairs:
            kept = averaged.clone()
            averaged.copy_(plain)
            plain.copy_(kept)

    def _stage(self, stage: int) -> Stage:
        return self.objective.stages[stage]

    def _export(
        self,
        name: str,
        facts: Facts,
        stage: int,
        found: dict[str, float] | None,
        *,
        averaged: bool = True,
    ) -> None:
        parameters = list(self.plain.parameters())
        trained = Trained(
            step=facts.step,
            stage=self._stage(stage).name,
            segments=self._stage(stage).segments,
            averaged=averaged,
            validation=found,
            tokens=facts.tokens,
            flops=facts.flops or None,
            seconds=facts.seconds,
            peak_allocated_bytes=peak_allocated_bytes(self.device),
            parameters=sum(one.numel() for one in parameters),
            trainable_parameters=sum(one.numel() for one in parameters if one.requires_grad),
        )
        self.objective.export(self.folder / name, self.averaged, trained)
