"""The curriculum: which lengths are trained when, and what each step is made of.

Source: Bulatov et al. 2024, section "Training process": the number of segments grows by one when
training has converged. Before that the noise inside one segment grows, and after that whole
segments run in front without a gradient (the burn-in).

Everything random is a function of the seed and the step, so that a training that was killed goes
on with the very steps it would have made.
"""

from __future__ import annotations

import math

from rmtscale.errors import BadInput
from rmtscale.study.training.curriculum import Draw, Progress, Stage
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

_TAG = 20_240_411
"""Keeps these random numbers apart from those of the data, which have the same seed."""


def plan_stages(
    settings: MemoryTaskSettings,
    segment_tokens: int,
    shortest_tokens: int,
    *,
    contrasts: bool = False,
) -> tuple[Stage, ...]:
    """Lists all stages, first to last.

    Args:
        settings: of the training.
        segment_tokens: text tokens of a full segment.
        shortest_tokens: fewer do not hold the facts and the question.
        contrasts: whether the task has stories that are hardest to tell apart.

    Raises:
        BadInput: facts and question, or a stage of stories alone, do not fit in a segment.
    """
    if shortest_tokens > segment_tokens:
        raise BadInput(
            f"segment size {settings.segment_size} leaves {segment_tokens} tokens of text: "
            f"expected {shortest_tokens} or more for the facts and the question of "
            f"{settings.task}"
        )
    stages = []
    if settings.curriculum:
        for tokens in settings.bare_tokens:
            if tokens > segment_tokens:
                raise BadInput(
                    f"bare tokens {tokens} in segments of {segment_tokens} tokens of text: "
                    f"expected {segment_tokens} or fewer"
                )
        short = sorted({max(tokens, shortest_tokens) for tokens in settings.start_tokens})
        short = [tokens for tokens in short if tokens < segment_tokens]
        if contrasts and settings.contrast_first:
            first = short[0] if short else segment_tokens
            stages.append(Stage(f"{first} tokens, contrasts", first, 1, contrast=True))
        stages = [
            Stage(f"{tokens} tokens, no noise", tokens, 1, bare=True)
            for tokens in sorted({max(tokens, shortest_tokens) for tokens in settings.bare_tokens})
        ] + stages
        stages += [Stage(f"{tokens} tokens", tokens, 1) for tokens in short]
        counts = range(1, settings.segments + 1)
    else:
        counts = range(settings.segments, settings.segments + 1)
    for count in counts:
        name = f"{count} segment{'s' if count > 1 else ''}"
        stages.append(Stage(name, count * segment_tokens, count))
    last = stages[-1]
    stages += [
        Stage(f"{last.name}, burn-in {most}", last.tokens, last.segments, most)
        for most in settings.burn_in
    ]
    return tuple(stages)


def draw(
    settings: MemoryTaskSettings,
    stages: tuple[Stage, ...],
    current: int,
    step: int,
    segment_tokens: int,
) -> Draw:
    """Draws stage and burn-in of one step; all rows of a batch are alike, so none needs a mask.

    The burn-in is log-uniform: as many batches with 1 to 2 segments as with 128 to 256.
    """
    import numpy as np

    random = np.random.default_rng((_TAG, settings.seed, step))
    chosen, earlier, burns_in, length, contrasts, between = random.random(6)
    index = (
        current if chosen < settings.current_stage_share or not current else int(earlier * current)
    )
    stage = stages[index]
    burn_in_segments = 0
    if stage.burn_in_segments and burns_in < settings.burn_in_share:
        burn_in_segments = int(math.exp(length * math.log(stage.burn_in_segments + 1)))
    tokens = stage.tokens + burn_in_segments * segment_tokens
    return Draw(
        index,
        burn_in_segments,
        tokens,
        contrasts < settings.contrast_share,
        between < settings.between_share and not burn_in_segments,
        between < settings.between_share and bool(burn_in_segments and settings.closing_questions),
    )


def advance(
    settings: MemoryTaskSettings,
    progress: Progress,
    stages: tuple[Stage, ...],
    steps: int,
    accuracy: float | None,
) -> Progress:
    """Progress after an interval: the next stage, where this one is learned or took too long.

    Args:
        settings: of the training.
        progress: before the interval.
        stages: all of them.
        steps: of the interval.
        accuracy: on its batches of the current stage; None where there were none.
    """
    spent = progress.stage_steps + steps
    learned = accuracy is not None and accuracy >= settings.threshold
    burns_in = stages[progress.stage].burn_in_segments
    most = settings.burn_in_max_steps if burns_in else settings.stage_max_steps
    over = (learned and spent >= settings.stage_min_steps) or spent >= most
    if over and progress.stage + 1 < len(stages):
        return Progress(progress.stage + 1, 0)
    return Progress(progress.stage, spent)
