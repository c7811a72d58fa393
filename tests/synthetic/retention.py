"""Evaluations at every length of Figure 5 that nobody made, for tests only."""

from __future__ import annotations

from rmtscale.study.figures.memory_tasks.plan import RETENTION_SEGMENTS
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, TASKS
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.synthetic.evaluations import ENCODER, curve


def decoders(accuracy: float = 1.0, **values: object) -> list[EvaluationRecord]:
    """Every task and seed, at one accuracy."""
    return [
        one
        for task in TASKS
        for seed in SEEDS
        for one in curve(RETENTION_SEGMENTS, accuracy, task=task, trained_seed=seed, **values)
    ]


def encoders(accuracy: float = 1.0, seeds: tuple[int, ...] = SEEDS) -> list[EvaluationRecord]:
    """The same of pretrained encoders."""
    return [
        one
        for task in TASKS
        for seed in seeds
        for one in curve(
            RETENTION_SEGMENTS,
            accuracy,
            task=task,
            trained_seed=seed,
            trained_backbone=ENCODER,
            segment_tokens=499,
            weights=f"encoder {task} {seed}",
        )
    ]
