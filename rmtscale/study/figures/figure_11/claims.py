"""Figure 11 of the paper: Memorize on 4 segments with a curriculum and without. Measured.

The same steps, batches and model; without, all four segments come at once. Claims: with, the
trained length is known and the paper's points are reached; without, it is chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import CHANCE, Curve
from rmtscale.study.figures.memory_tasks.backbones import NOT_NOTED, subject
from rmtscale.study.figures.memory_tasks.claims import curves_by, learned, reaches, words
from rmtscale.study.figures.memory_tasks.ways import by_recipe
from rmtscale.study.records.evaluation import EvaluationRecord

PAPER = {4: 0.999, 5: 0.999, 10: 0.86, 15: 0.61}
"""With a curriculum, read off its text; without, 15 to 18 % everywhere."""
PAPER_TRAINED = 4
WAYS = ("curriculum", "no curriculum")

Curves = dict[str, dict[int, Curve]]
"""Curves by kind of training and seed."""


def by_way(records: Sequence[EvaluationRecord]) -> Curves:
    """Groups records by way, with the curriculum and without, and by seed.

    A recipe that is not the usual one is a way of its own: ``curriculum, told weight 0.3``.
    """
    ways: dict[str, list[EvaluationRecord]] = {}
    for way, with_curriculum in zip(WAYS, (True, False), strict=True):
        # The way says whether there was a curriculum: it is no change of the recipe here.
        own = [
            replace(record, trained_with=_without_curriculum(record.trained_with))
            for record in records
            if record.trained_curriculum is with_curriculum
        ]
        for recipe, some in by_recipe(own, lambda record: record).items():
            ways[f"{way}, {recipe}" if recipe else way] = some
    return {way: curves_by(lambda record: record.trained_seed, own) for way, own in ways.items()}


def _without_curriculum(
    trained_with: tuple[dict[str, object], ...] | None,
) -> tuple[dict[str, object], ...] | None:
    if trained_with is None:
        return None
    return tuple(
        {name: value for name, value in settings.items() if name != "curriculum"}
        for settings in trained_with
    )


def check_claims(ours: Curves, trained: int, *, kind: str = NOT_NOTED) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by way and seed, of one kind of backbone.
        trained: segments of the longest stage.
        kind: of the backbone.
    """
    claims = []
    for way, seed, curve in _each(ours, WAYS[0]):
        whose = subject(kind, f"with{way}, seed {seed}")
        claims.append(learned(f"{whose}: learned on {trained} segments", curve.get(trained)))
        if trained == PAPER_TRAINED:
            claims += [
                reaches(f"{whose}: read {count}", paper, curve.get(count))
                for count, paper in PAPER.items()
            ]
    claims += [
        _chance(
            subject(kind, f"without{way}, seed {seed}") + f": read {trained}", curve.get(trained)
        )
        for way, seed, curve in _each(ours, WAYS[1])
    ]
    return claims


def _each(ours: Curves, way: str) -> Iterator[tuple[str, int, Curve]]:
    """Yields recipe (behind a comma, or nothing), seed and curve of one way."""
    for name, curves in ours.items():
        if name.startswith(way):
            yield from ((name.removeprefix(way), seed, curve) for seed, curve in curves.items())


def _chance(text: str, record: EvaluationRecord | None) -> Claim:
    """Claims that chance lies in the interval: learning without the curriculum fails it."""
    if record is None:
        return Claim(text, "chance", "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.low <= CHANCE * 1.2 else "fail"
    return Claim(
        text, "15 to 18 %", words(record), outcome, "20 % in the 95 % interval or above it"
    )
