"""Figure 11 of the paper: Memorize on 4 segments with a curriculum and without. Measured.

The same steps, batches and model; without, all four segments come at once. Claims: with, the
trained length is known and the paper's points are reached; without, it is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rmtscale.report.claims import Claim, Outcome, claims_table
from rmtscale.report.style import render
from rmtscale.study.figures.figure_11.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import CHANCE, Curve
from rmtscale.study.figures.memory_tasks.page import (
    accuracy_table,
    collect,
    grouped,
    how_it_was_made,
    learned,
    reaches,
    words,
    write_figure,
)
from rmtscale.study.figures.memory_tasks.recipes import Plan
from rmtscale.study.figures.training_runs import How, best_checkpoint
from rmtscale.study.records.evaluation import EvaluationRecord

NAME = "figure-11"
PAPER = {4: 0.999, 5: 0.999, 10: 0.86, 15: 0.61}
"""With a curriculum, read off its text; without, 15 to 18 % everywhere."""
PAPER_TRAINED = 4
WAYS = ("curriculum", "no curriculum")

Curves = dict[str, dict[int, Curve]]
"""By way and seed."""


def run(
    folder: Path,
    *,
    force: bool = False,
    records: Path | None = None,
    how: How | None = None,
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
) -> list[Claim]:
    """Writes figure, numbers and a README into ``folder``; returns the claims, checked.

    Args:
        folder: to write to.
        force: overwrite what is there.
        records: evaluations made before; nothing is trained then.
        how: where and how to train.
        quick: the toy size.
        seeds: None is all of the recipes'.
    """
    wanted, found = collect(
        NAME, records, how, quick=quick, seeds=seeds, checkpoints=best_checkpoint
    )
    ours = by_way(found)
    trained = max(record.trained_segments for record in found)
    claims = check_claims(ours, trained)
    readme = _readme(found, ours, claims, wanted)
    write_figure(folder, NAME, render(draw(ours, trained)), found, wanted, readme, force=force)
    return claims


def by_way(records: Sequence[EvaluationRecord]) -> Curves:
    """Curves with the curriculum and without, by seed."""
    found: Curves = {}
    for way, wanted in zip(WAYS, (True, False), strict=True):
        own = [record for record in records if record.trained_curriculum is wanted]
        curves = grouped(own, lambda record: record.trained_seed)
        if curves:
            found[way] = dict(sorted((int(str(key[0])), one) for key, one in curves.items()))
    return found


def check_claims(ours: Curves, trained: int) -> list[Claim]:
    """Every claim, held against the records."""
    claims = []
    for seed, one in ours.get(WAYS[0], {}).items():
        claims.append(
            learned(f"with, seed {seed}: learned on {trained} segments", one.get(trained))
        )
        if trained == PAPER_TRAINED:
            claims += [
                reaches(f"with, seed {seed}: read {count}", paper, one.get(count))
                for count, paper in PAPER.items()
            ]
    claims += [
        _chance(f"without, seed {seed}: read {trained}", one.get(trained))
        for seed, one in ours.get(WAYS[1], {}).items()
    ]
    return claims


def _chance(text: str, record: EvaluationRecord | None) -> Claim:
    """Chance lies in the interval; learning without the curriculum fails the claim."""
    if record is None:
        return Claim(text, "chance", "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.low <= CHANCE * 1.2 else "fail"
    return Claim(
        text, "15 to 18 %", words(record), outcome, "20 % in the 95 % interval or above it"
    )


def _readme(
    records: Sequence[EvaluationRecord], ours: Curves, claims: list[Claim], wanted: Plan | None
) -> str:
    table = accuracy_table(
        {f"{way}, seed {seed}": one for way, curves in ours.items() for seed, one in curves.items()}
    )
    return f"""# Figure 11: with a curriculum and without

Made by `rmtscale reproduce figure-11`. {how_it_was_made(records, wanted)}

![Accuracy against segments read](figure-11.png)

{claims_table(claims)}

{table}

Numbers: [figure-11.csv](figure-11.csv), [records.jsonl](records.jsonl).
"""
