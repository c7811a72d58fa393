"""Evaluated models as curves: which weights answered which task, and the one that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS

Curve = Mapping[str, BabilongRecord]
"""Records by name of the length, shortest first."""


@dataclass(frozen=True, slots=True)
class Run:
    """One model on one task."""

    task: str
    title: str
    """Names backbone, what it was trained on, seed and dead band."""
    curve: Curve

    @property
    def shares(self) -> dict[str, float]:
        """Accuracies by length."""
        return {length: record.accuracy for length, record in self.curve.items()}


def runs_of(records: Iterable[BabilongRecord]) -> list[Run]:
    """Groups records by task and model, a later record in the place of an earlier one."""
    curves: dict[tuple[str, str], dict[str, BabilongRecord]] = {}
    for record in records:
        curves.setdefault((record.point.stories, title_of(record)), {})[record.point.length] = (
            record
        )
    ordered = sorted(curves.items(), key=lambda item: (QAS.index(item[0][0]), item[0][1]))
    return [
        Run(task, title, {length: own[length] for length in LENGTHS if length in own})
        for (task, title), own in ordered
    ]


def title_of(record: BabilongRecord) -> str:
    """Names the model of a record."""
    point, training = record.point, record.training
    words = [f"{point.model} {point.weights[:6]}"]
    if training is not None:
        learnt = "all five" if training.stories == ",".join(QAS) else training.stories
        words = [f"RMT {training.backbone}", f"trained on {learnt}", f"seed {training.seed}"]
        words.append(f"{training.steps:,} steps")
    if point.dead_band:
        words.append(f"dead band {point.dead_band:g}")
    if point.answers == "generate":
        words.append("free text")
    return ", ".join(words)


def shown(runs: Iterable[Run]) -> dict[str, Run]:
    """Chooses the run of each task that reads furthest, and of these the most accurate one.

    All runs stand in the tables; this one is drawn, and counts in the average.
    """
    best: dict[str, Run] = {}
    for run in runs:
        known = best.get(run.task)
        if known is None or _rank(run) > _rank(known):
            best[run.task] = run
    return best


def _rank(run: Run) -> tuple[int, float]:
    last = list(run.curve)[-1]
    return list(LENGTHS).index(last), sum(run.shares.values()) / len(run.shares)
