"""Figure 11 of the paper: Memorize on 4 segments with a curriculum and without. Measured.

The same steps, batches and model; without, all four segments come at once. Claims: with, the
trained length is known and the paper's points are reached; without, it is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import CHANCE, Curve
from rmtscale.study.figures.memory_tasks.backbones import NOT_NOTED, subject
from rmtscale.study.figures.memory_tasks.claims import curves_by, learned, reaches, words
from rmtscale.study.records.evaluation import EvaluationRecord

PAPER = {4: 0.999, 5: 0.999, 10: 0.86, 15: 0.61}
"""With a curriculum, read off its text; without, 15 to 18 % everywhere."""
PAPER_TRAINED = 4
WAYS = ("curriculum", "no curriculum")

Curves = dict[str, dict[int, Curve]]
"""Curves by kind of training and seed."""


def by_way(records: Sequence[EvaluationRecord]) -> Curves:
    """Groups records by way, with the curriculum and without, and by seed."""
    curves = {
        way: curves_by(
            lambda record: record.trained_seed,
            (record for record in records if record.trained_curriculum is with_curriculum),
        )
        for way, with_curriculum in zip(WAYS, (True, False), strict=True)
    }
    return {way: own for way, own in curves.items() if own}


def check_claims(ours: Curves, trained: int, *, kind: str = NOT_NOTED) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by way and seed, of one kind of backbone.
        trained: segments of the longest stage.
        kind: of the backbone.
    """
    claims = []
    for seed, curve in ours.get(WAYS[0], {}).items():
        whose = subject(kind, f"with, seed {seed}")
        claims.append(learned(f"{whose}: learned on {trained} segments", curve.get(trained)))
        if trained == PAPER_TRAINED:
            claims += [
                reaches(f"{whose}: read {count}", paper, curve.get(count))
                for count, paper in PAPER.items()
            ]
    claims += [
        _chance(subject(kind, f"without, seed {seed}") + f": read {trained}", curve.get(trained))
        for seed, curve in ours.get(WAYS[1], {}).items()
    ]
    return claims


def _chance(text: str, record: EvaluationRecord | None) -> Claim:
    """Claims that chance lies in the interval: learning without the curriculum fails it."""
    if record is None:
        return Claim(text, "chance", "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.low <= CHANCE * 1.2 else "fail"
    return Claim(
        text, "15 to 18 %", words(record), outcome, "20 % in the 95 % interval or above it"
    )
