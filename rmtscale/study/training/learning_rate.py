"""The learning rate: a warm-up, less with every segment more, and a line to 0 at the end."""

from __future__ import annotations

from rmtscale.study.training.memory_tasks.curriculum import Stage
from rmtscale.study.training.settings import LoopSettings


def learning_rate(settings: LoopSettings, stage: Stage, step: int) -> float:
    """The rate of one step, counted from 0; nothing but these three decide it."""
    rate = settings.learning_rate
    if settings.curriculum:
        rate *= settings.stage_factor ** (stage.segments - 1)
    if step < settings.warmup_steps:
        rate *= (step + 1) / settings.warmup_steps
    decay_steps = round(settings.steps * settings.final_decay_share)
    left = settings.steps - step
    if left < decay_steps:
        rate *= left / decay_steps
    return rate
