"""Figure 5 of the paper: retention up to 4096 segments, two million tokens. Measured.

Models trained on at most 7 segments with a gradient, and a roll-in without. Claims: at every length
at least the paper's accuracy; at 4096 segments what this project set out for; memory constant in
the length, measured at each one. Every seed is shown.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim, Outcome, claims_table
from rmtscale.report.style import render
from rmtscale.study.figures.figure_5.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve, Points
from rmtscale.study.figures.memory_tasks.page import (
    accuracy_table,
    collect,
    grouped,
    how_it_was_made,
    learned,
    paper_points,
    words,
    write_figure,
)
from rmtscale.study.figures.memory_tasks.recipes import TASKS, Plan
from rmtscale.study.figures.training_runs import How, best_checkpoint
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.layout import METRICS
from rmtscale.units import format_accuracy, format_bytes, format_percent, format_tokens

NAME = "figure-5"
LONGEST = 4096
TARGETS = {"memorize": 0.995, "detect-memorize": 0.98, "reasoning": 0.90}
"""At 4096 segments; the paper has 90.56, 96.07 and 81.90 %."""
CONSTANT_WITHIN = 0.01
CONSTANT_WITHIN_RESIDENT = 0.25
"""Of a process on a CPU, whose resident memory also holds what the data were made of."""

Curves = dict[str, dict[int, Curve]]
"""By task and seed."""


def run(
    folder: Path,
    *,
    force: bool = False,
    records: Path | None = None,
    how: How | None = None,
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
) -> list[Claim]:
    """Writes figure, numbers, checkpoints and a README into ``folder``; returns the claims.

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
    ours, paper = by_task(found), paper_curves()
    claims = check_claims(ours, paper, long=not quick)
    shown = {task: paper[task] for task in ours} if not quick else {}
    figure = draw(ours, shown, peaks_of(ours))
    readme = _readme(found, ours, claims, wanted)
    write_figure(folder, NAME, render(figure), found, wanted, readme, force=force)
    if wanted is not None and how is not None:
        keep_checkpoints(wanted, how, folder / "checkpoints", force=force)
    return claims


def by_task(records: Sequence[EvaluationRecord]) -> Curves:
    """Curves by task and seed."""
    found: Curves = {}
    for task in TASKS:
        own = [record for record in records if record.point.task == task]
        curves = grouped(own, lambda record: record.trained_seed)
        if curves:
            found[task] = dict(sorted((int(str(key[0])), one) for key, one in curves.items()))
    return found


def paper_curves() -> dict[str, Points]:
    """The published curves, by task."""
    return {
        key[0]: points
        for key, points in paper_points("figure_5/published.csv", ("segments",)).items()
    }


def peaks_of(ours: Curves) -> dict[int, int]:
    """Peak bytes by tokens, of the first training."""
    first = next(iter(next(iter(ours.values())).values()))
    found = {}
    for record in first.values():
        memory = record.memory
        peak = memory.peak_allocated_bytes or memory.peak_resident_bytes
        if peak is not None:
            found[record.point.tokens] = peak
    return found


def check_claims(ours: Curves, paper: Mapping[str, Points], *, long: bool = True) -> list[Claim]:
    """Every claim, held against the records.

    Args:
        ours: by task and seed.
        paper: by task.
        long: False is the toy size, which is held against chance only.
    """
    missing = [task for task in TASKS if task not in ours]
    claims = [
        Claim(f"{TITLES[task]}: trained and evaluated", "yes", "not evaluated", "not measurable")
        for task in missing
    ]
    for task, curves in ours.items():
        title = TITLES[task]
        for seed, one in curves.items():
            trained = next(iter(one.values())).trained_segments
            inside = [count for count in one if count <= trained]
            known = one[max(inside)] if inside else None
            claims.append(learned(f"{title}, seed {seed}: learned", known))
            if long:
                claims.append(_everywhere(f"{title}, seed {seed}", one, paper[task]))
                claims.append(_target(f"{title}, seed {seed}", one, task, paper[task]))
    claims += [
        _constant(f"{TITLES[task]}, seed {seed}", one)
        for task, curves in ours.items()
        for seed, one in curves.items()
    ]
    return claims


def _everywhere(title: str, one: Curve, paper: Points) -> Claim:
    text = f"{title}: at least the paper's at every length"
    shared = [count for count in paper if count in one]
    if not shared:
        return Claim(text, "its curve", "no length of it was evaluated", "not measurable")
    below = [count for count in shared if one[count].high < paper[count]]
    if not below:
        return Claim(text, "its curve", f"at all {len(shared)} lengths", "pass", "95 % interval")
    worst = min(below, key=lambda count: one[count].accuracy - paper[count])
    ours = (
        f"below it at {len(below)} of {len(shared)}, most at {format_tokens(worst)}: "
        f"{format_accuracy(one[worst].accuracy)} against {format_accuracy(paper[worst])}"
    )
    return Claim(text, "its curve", ours, "fail", "95 % interval")


def _target(title: str, one: Curve, task: str, paper: Points) -> Claim:
    target = TARGETS[task]
    text = f"{title}: {format_accuracy(target)} at {format_tokens(LONGEST)} segments"
    record = one.get(LONGEST)
    if record is None:
        return Claim(text, format_accuracy(paper[LONGEST]), "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.accuracy >= target else "fail"
    return Claim(text, format_accuracy(paper[LONGEST]), words(record), outcome, "exact")


def _constant(title: str, one: Curve) -> Claim:
    text = f"{title}: memory constant in length, measured"
    peaks, limit = {}, CONSTANT_WITHIN
    for count, record in one.items():
        memory = record.memory
        if memory.peak_allocated_bytes is not None:
            peaks[count] = memory.peak_allocated_bytes
        elif memory.peak_resident_bytes is not None:
            limit = CONSTANT_WITHIN_RESIDENT
            peaks[count] = memory.peak_resident_bytes - record.host_ids_bytes
    # One segment alone is read in one go; from two on the same step is taken again and again.
    peaks = {count: peak for count, peak in peaks.items() if count > 1}
    if len(peaks) < 2:
        return Claim(text, "constant", "fewer than two lengths", "not measurable")
    spread = max(peaks.values()) / min(peaks.values()) - 1
    last = max(peaks)
    ours = (
        f"{format_bytes(peaks[last])} at {format_tokens(last)}, {format_percent(spread)} over all"
    )
    outcome: Outcome = "pass" if spread <= limit else "fail"
    return Claim(text, "constant", ours, outcome, format_percent(limit))


def keep_checkpoints(wanted: Plan, how: How, folder: Path, *, force: bool) -> None:
    """Copies the evaluated checkpoints, and how they were trained, beside the figure."""
    for name in wanted.recipes:
        (source,) = best_checkpoint(how.runs / name).values()
        target = folder / name
        if target.exists():
            if not force:
                raise BadInput(
                    f"output {str(target)!r}: exists already, expected --force to overwrite"
                )
            shutil.rmtree(target)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.jsonl"))
        shutil.copyfile(how.runs / name / METRICS, target / "training.jsonl")


def _readme(
    records: Sequence[EvaluationRecord], ours: Curves, claims: list[Claim], wanted: Plan | None
) -> str:
    tables = "\n\n".join(
        f"## {TITLES[task]}\n\n"
        + accuracy_table({f"seed {seed}": one for seed, one in curves.items()})
        for task, curves in ours.items()
    )
    return f"""# Figure 5: what is remembered after two million tokens

Made by `rmtscale reproduce figure-5`. {how_it_was_made(records, wanted)}

![Accuracy against input length](figure-5.png)

{claims_table(claims)}

{tables}

Try one: `rmtscale evaluate reports/figure-5/checkpoints/memorize-0 --segments 1,2,4,8`. Numbers:
[figure-5.csv](figure-5.csv), [records.jsonl](records.jsonl).
"""
