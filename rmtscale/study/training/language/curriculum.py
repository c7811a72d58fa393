"""The curriculum on text: a segment more after so many steps, fixed lengths or mixed ones.

Source: Bulatov et al. 2024, section "Language modeling": training begins without history, each
stage has one segment more; with *mixing* the number of segments of a batch is drawn from those
seen so far (its Figure 12).
"""

from __future__ import annotations

from rmtscale.errors import BadInput
from rmtscale.study.training.curriculum import Draw, Progress, Stage
from rmtscale.study.training.language.settings import LANGUAGE_MODELING, LanguageSettings

_TAG = 20_240_412
"""Keeps these random numbers apart from those of the data, which have the same seed."""


def plan_text_stages(settings: LanguageSettings) -> tuple[Stage, ...]:
    """Lists all stages, first to last.

    Raises:
        BadInput: several segments of which all but the last would not be read.
    """
    if settings.task == LANGUAGE_MODELING and not settings.memory_tokens and settings.segments > 1:
        raise BadInput(
            f"segments {settings.segments} without memory: expected 1, no other would be read"
        )
    first = settings.start_segments if settings.curriculum else settings.segments
    return tuple(
        Stage(f"{count} segment{'s' if count > 1 else ''}", count * settings.segment_tokens, count)
        for count in range(first, settings.segments + 1)
    )


def draw_text(
    settings: LanguageSettings, stages: tuple[Stage, ...], current: int, step: int
) -> Draw:
    """Returns the stage of one step: the current one, or with mixing any so far."""
    import numpy as np

    index = current
    if settings.mixing and current:
        index = int(np.random.default_rng((_TAG, settings.seed, step)).integers(current + 1))
    return Draw(index, 0, stages[index].tokens)


def advance_text(
    settings: LanguageSettings, progress: Progress, stages: tuple[Stage, ...], steps: int
) -> Progress:
    """Progress after an interval: a stage has ``stage_steps``, the last one all that are left."""
    spent = progress.stage_steps + steps
    if spent >= settings.stage_steps and progress.stage + 1 < len(stages):
        return Progress(progress.stage + 1, 0)
    return Progress(progress.stage, spent)
