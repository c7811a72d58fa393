"""Keeps the EMA weights of a training, the best of them, and those at the end of a stage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.curriculum import Stage
from rmtscale.study.training.cutting import own_parts, reshard
from rmtscale.study.training.device import peak_allocated_bytes
from rmtscale.study.training.layout import BEST, LAST, STAGES
from rmtscale.study.training.learning import Learning
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.train_state import TrainState

_CAUGHT_UP = 0.02
"""How much worse than the last weights the EMA may be, in accuracy or nats, by noise alone."""


def ema_decay_at(settings: LoopSettings, step: int) -> float:
    """Computes the decay at a step: low at first, so that the random start is forgotten."""
    return min(settings.ema_decay, (1 + step) / (10 + step))


class Keeper:
    """Keeps the EMA weights of a training and writes its checkpoints.

    Args:
        settings: of the training.
        folder: where checkpoints go.
        objective: validates and writes them.
        learning: has the weights that are trained, and their EMA.
    """

    def __init__(
        self,
        settings: LoopSettings,
        folder: Path,
        objective: Objective,
        learning: Learning,
    ) -> None:
        self.settings, self.folder, self.objective = settings, folder, objective
        self.plain, self.ema = learning.plain, learning.ema
        self.device, self.share = learning.device, learning.share
        self._ema_parts = own_parts(self.ema.parameters())
        self._plain_parts = own_parts(self.plain.parameters())

    def follow(self, step: int) -> None:
        """Takes the weights after a step into the EMA."""
        average: Any = get_ema_multi_avg_fn(ema_decay_at(self.settings, step))  # type: ignore[no-untyped-call]
        average(self._ema_parts, self._plain_parts, None)

    def validate(self, stage: int) -> dict[str, float]:
        """Validates the EMA weights at the lengths of a stage."""
        found = self.objective.validate(self.ema, self._stage(stage), self.device, self.share)
        reshard(self.ema)
        return found

    def keep_best(self, state: TrainState, stage: int, found: dict[str, float]) -> TrainState:
        """Writes a checkpoint, where none of this stage or a later one did better."""
        score = self.objective.score(found)
        # Of a longer stage is better, whatever it scored.
        known = -math.inf if state.best_score is None else state.best_score
        if (stage, score) < (state.best_stage, known):
            return state
        state = replace(state, best_stage=stage, best_score=score)
        self._export(BEST, state, stage, found)
        return state

    def keep_last(self, state: TrainState, stage: int, found: dict[str, float] | None) -> None:
        """Writes the checkpoint of the end."""
        self._export(LAST, state, stage, found)

    def keep_stage(self, state: TrainState, stage: int) -> None:
        """Writes the weights at the end of a stage of whole segments, for Figure 4.

        These are the EMA weights, which carry further, or the last ones where a stage was too
        short for the average.
        """
        if not (self.settings.keep_stages and self._stage(stage).whole):
            return
        name = f"{STAGES}/segments-{self._stage(stage).segments}"
        ema_validation = self.validate(stage)
        self._swap()
        last_validation = self.validate(stage)
        score = self.objective.score
        caught_up = score(ema_validation) >= score(last_validation) - _CAUGHT_UP
        if caught_up:
            self._swap()
        validation = ema_validation if caught_up else last_validation
        self._export(name, state, stage, validation, ema=caught_up)
        if not caught_up:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchanges the EMA weights for the last ones, in place: captured steps read them."""
        pairs = zip(self._ema_parts, self._plain_parts, strict=True)
        for ema, plain in pairs:
            before = ema.clone()
            ema.copy_(plain)
            plain.copy_(before)

    def _stage(self, stage: int) -> Stage:
        return self.objective.stages[stage]

    def _export(
        self,
        name: str,
        state: TrainState,
        stage: int,
        found: dict[str, float] | None,
        *,
        ema: bool = True,
    ) -> None:
        if not self.share.writes and not self.ema.cut:
            return
        reshard(self.plain)
        parameters = list(self.plain.rmt.parameters())  # without a training's own head
        trained = Trained(
            step=state.step,
            steps_before=self.objective.steps_before,
            learned_before=self.objective.learned_before,
            weights_before=self.objective.weights_before,
            stage=self._stage(stage).name,
            segments=self._stage(stage).segments,
            ema=ema,
            validation=found,
            tokens=state.tokens,
            flops=state.flops or None,
            seconds=state.seconds,
            peak_allocated_bytes=peak_allocated_bytes(self.device),
            parameters=sum(weight.numel() for weight in parameters),
            trainable_parameters=sum(
                weight.numel() for weight in parameters if weight.requires_grad
            ),
        )
        self.objective.export(self.folder / name, self.ema, trained)
