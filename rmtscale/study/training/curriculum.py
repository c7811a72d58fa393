"""Stages of a curriculum, where a training stands in them, and the learning rate of each step."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.study.training.settings import LoopSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """One length to learn."""

    name: str
    tokens: int
    """Text tokens with a gradient."""
    segments: int
    """Segments they make."""
    burn_in_segments: int = 0
    """Most segments of a burn-in before them; 0 is none."""
    contrast: bool = False
    """Reasoning: only stories in which nothing but the direction tells the facts apart."""
    bare: bool = False
    """Stories without noise."""

    @property
    def whole(self) -> bool:
        """A stage of the paper: whole segments and no burn-in."""
        return self.name.endswith(("segment", "segments"))


@dataclass(frozen=True, slots=True)
class Progress:
    """Holds where a training stands in its curriculum."""

    stage: int = 0
    stage_steps: int = 0
    """Steps since the stage began."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Describes what one step is trained on."""

    stage: int
    burn_in_segments: int
    tokens: int
    """Text tokens of a sample, those of the burn-in with them."""
    contrast: bool = False
    """Whether its stories are contrasts, whatever the stage has."""
    between: bool = False
    """Whether questions are asked among the facts too."""
    closing: bool = False
    """Whether more questions are asked before the last."""

    @property
    def asks_more(self) -> bool:
        """Whether a sample has more questions than the last."""
        return self.between or self.closing


def end_step(settings: LoopSettings, stages: tuple[Stage, ...], at: Progress, step: int) -> int:
    """Computes the step with which a training ends, as far as it is known at another.

    That is ``steps``; where the last stage has steps of its own, their end once it has begun, if
    that comes sooner.

    Args:
        settings: of the training.
        stages: all of them.
        at: where the training stands.
        step: steps done there.
    """
    own = settings.own_last_steps
    if own is None or at.stage + 1 < len(stages):
        return settings.steps
    return min(settings.steps, step - at.stage_steps + own)


def learning_rate(settings: LoopSettings, stage: Stage, step: int, end: int | None = None) -> float:
    """Computes the rate of one step, counted from 0; nothing but these four decide it.

    It falls to 0 over the last ``final_decay_share`` of all steps, or of those that the last stage
    has of its own. As these are no more than are left when that stage begins, an end that is known
    only then changes no rate before it, and there is no jump.

    Args:
        settings: of the training.
        stage: of the step.
        step: steps done.
        end: of the training, as ``end_step`` has it; None is after ``steps``.
    """
    end = settings.steps if end is None else end
    own = settings.own_last_steps
    last_steps = settings.steps if own is None else min(own, settings.steps)
    rate = settings.learning_rate
    if settings.curriculum:
        rate *= settings.stage_factor ** (stage.segments - 1)
    if step < settings.warmup_steps:
        rate *= (step + 1) / settings.warmup_steps
    decay_steps = round(last_steps * settings.final_decay_share)
    left = end - step
    if left < decay_steps:
        rate *= left / decay_steps
    return rate
