"""Figure 4 of the paper: trained on 1 to 7 segments, evaluated on 1 to 15. Measured.

Three tasks; the checkpoints at the ends of the stages of one training's curriculum are the models.
Claims: trained on 7, each task is at least as good as the paper's at 5, 10 and 15 segments, every
model knows the length it was trained on, and more segments carry further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rmtscale.report.claims import Claim, Outcome, claims_table
from rmtscale.report.style import render
from rmtscale.study.figures.figure_4.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve, Points
from rmtscale.study.figures.memory_tasks.page import (
    accuracy_table,
    collect,
    grouped,
    how_it_was_made,
    learned,
    paper_points,
    reaches,
    words,
    write_figure,
)
from rmtscale.study.figures.memory_tasks.recipes import TASKS, Plan
from rmtscale.study.figures.training_runs import How
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.layout import STAGES

NAME = "figure-4"
HELD_AGAINST = (5, 10, 15)
LONGEST_TRAINED = 7
KNOWS = 0.95
"""Accuracy on the trained length that counts as learned."""

Curves = dict[str, dict[int, Curve]]
"""By task and trained segments."""


def stage_checkpoints(folder: Path) -> dict[str, Path]:
    """The checkpoints at the ends of the stages of whole segments."""
    found = sorted(
        (folder / STAGES).glob("segments-*"), key=lambda path: int(path.name.split("-")[1])
    )
    return {path.name: path for path in found}


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
        seeds: None is the first.
    """
    wanted, found = collect(
        NAME, records, how, quick=quick, seeds=seeds, checkpoints=stage_checkpoints
    )
    ours = by_task(found)
    paper = paper_curves()
    real = _is_full(found)
    claims = check_claims(ours, paper)
    figure = draw(ours, {task: paper[task] for task in ours} if real else {})
    readme = _readme(found, ours, claims, wanted)
    write_figure(folder, NAME, render(figure), found, wanted, readme, force=force)
    return claims


def by_task(records: Sequence[EvaluationRecord]) -> Curves:
    """Curves of one seed (the first there is), by task and trained segments."""
    first = min((record.trained_seed for record in records), default=0)
    chosen = [record for record in records if record.trained_seed == first]
    found: Curves = {}
    for task in TASKS:
        own = [record for record in chosen if record.point.task == task]
        curves = grouped(own, lambda record: record.trained_segments)
        if curves:
            found[task] = dict(sorted((int(str(key[0])), one) for key, one in curves.items()))
    return found


def paper_curves() -> dict[str, dict[int, Points]]:
    """The published curves, by task and trained segments."""
    found: dict[str, dict[int, Points]] = {}
    columns = ("trained_segments", "eval_segments")
    for (task, trained), points in paper_points("figure_4/published.csv", columns).items():
        found.setdefault(task, {})[int(trained)] = points
    return found


def check_claims(ours: Curves, paper: Mapping[str, Mapping[int, Points]]) -> list[Claim]:
    """Every claim, held against the records."""
    claims = []
    for task in TASKS:
        title, curves = TITLES[task], ours.get(task, {})
        if not curves:
            text = f"{title}: trained and evaluated"
            claims.append(Claim(text, "yes", "no stage was finished", "not measurable"))
            continue
        longest = max(curves)
        claims.append(
            learned(f"{title}: learned on {longest} segments", curves[longest].get(longest))
        )
        seven = curves.get(LONGEST_TRAINED, {})
        for count in HELD_AGAINST:
            text = f"{title}: trained on {LONGEST_TRAINED}, read {count}"
            claims.append(reaches(text, paper[task][LONGEST_TRAINED][count], seven.get(count)))
        claims.append(_knows(title, curves))
        claims.append(_carries(title, curves))
    return claims


def _knows(title: str, curves: Mapping[int, Curve]) -> Claim:
    own = {trained: one[trained] for trained, one in curves.items() if trained in one}
    text = f"{title}: each model on the length it was trained on"
    if not own:
        return Claim(text, "100 %", "not evaluated", "not measurable")
    worst = min(own, key=lambda trained: own[trained].accuracy)
    outcome: Outcome = "pass" if own[worst].high >= KNOWS else "fail"
    return Claim(text, "100 %", f"worst {words(own[worst])} at {worst}", outcome, "95 % or more")


def _carries(title: str, curves: Mapping[int, Curve]) -> Claim:
    text = f"{title}: more trained segments carry further"
    few, many = min(curves), max(curves)
    shared = sorted(set(curves[few]) & set(curves[many]))
    beyond = [count for count in shared if count > few]
    if few == many or not beyond:
        return Claim(text, "yes", "one model only", "not measurable")
    at = beyond[-1]
    low, high = curves[few][at], curves[many][at]
    outcome: Outcome = "pass" if high.accuracy > low.accuracy else "fail"
    ours = f"read {at}: {words(low)} from {few}, {words(high)} from {many}"
    return Claim(text, "yes", ours, outcome, "order")


def _is_full(records: Sequence[EvaluationRecord]) -> bool:
    return any(record.trained_segments == LONGEST_TRAINED for record in records)


def _readme(
    records: Sequence[EvaluationRecord], ours: Curves, claims: list[Claim], wanted: Plan | None
) -> str:
    tables = "\n\n".join(
        f"## {TITLES[task]}\n\n"
        + accuracy_table({f"trained on {trained}": one for trained, one in curves.items()})
        for task, curves in ours.items()
    )
    return f"""# Figure 4: trained on few segments, read on many

Made by `rmtscale reproduce figure-4`. {how_it_was_made(records, wanted)}

![Accuracy against segments read](figure-4.png)

{claims_table(claims)}

{tables}

Numbers: [figure-4.csv](figure-4.csv), [records.jsonl](records.jsonl).
"""
