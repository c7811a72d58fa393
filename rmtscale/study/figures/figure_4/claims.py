"""Figure 4 of the paper: trained on 1 to 7 segments, evaluated on 1 to 15. Measured.

Three tasks; the checkpoints at the ends of the stages of one training's curriculum are the models.
Claims: trained on 7, each task is at least as good as the paper's at 5, 10 and 15 segments, every
model knows the length it was trained on, and more segments carry further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve, Points
from rmtscale.study.figures.memory_tasks.backbones import (
    NOT_NOTED,
    PRETRAINED_ENCODER,
    recipe_names,
    subject,
)
from rmtscale.study.figures.memory_tasks.claims import curves_by, learned, reaches, words
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.figures.memory_tasks.ways import trained_way
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_accuracy

HELD_AGAINST = (5, 10, 15)
LONGEST_TRAINED = 7
KNOWS = 0.95
"""Accuracy on the trained length that counts as learned."""

Curves = dict[str, dict[int, Curve]]
"""Curves by task and trained segments."""


def by_task(records: Sequence[EvaluationRecord]) -> Curves:
    """Groups the records of one seed of each task (the first it has) by task and trained segments.

    Of several recipes of a task the usual one is taken, or the first by name.
    """
    first: dict[str, int] = {}
    for record in records:
        task, seed = record.point.task, record.trained_seed
        first[task] = min(first.get(task, seed), seed)
    names = recipe_names(records)
    shown = {
        task: min(
            (
                names[record.point.weights]
                for record in records
                if record.point.task == task and record.trained_seed == first[task]
            ),
            key=lambda name: (name.count(","), name),
            default="",
        )
        for task in TASKS
    }
    curves = {
        task: curves_by(
            lambda record: record.trained_segments,
            (
                record
                for record in records
                if record.point.task == task and names[record.point.weights] == shown[task]
            ),
        )
        for task in TASKS
    }
    return {task: own for task, own in curves.items() if own}


def of_way(ours: Mapping[str, Mapping[int, Curve]], task: str) -> str:
    """Returns the recipe of a task's curves, behind a comma, or nothing where it is the usual."""
    records = [one for curve in ours.get(task, {}).values() for one in curve.values()]
    way = trained_way(records[0]) if records else ""
    return f", {way}" if way else ""


def paper_curves() -> dict[str, dict[int, Points]]:
    """Reads the published curves, by task and trained segments."""
    curves: dict[str, dict[int, Points]] = {}
    columns = ("trained_segments", "eval_segments")
    for (task, trained), points in paper_points("figure_4", columns).items():
        curves.setdefault(task, {})[int(trained)] = points
    return curves


def check_claims(
    ours: Curves, paper: Mapping[str, Mapping[int, Points]], *, kind: str = NOT_NOTED
) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by task and trained segments, of one kind of backbone.
        paper: the same.
        kind: of the backbone.
    """
    claims = []
    for task in TASKS:
        title, curves = f"{subject(kind, TITLES[task])}{of_way(ours, task)}", ours.get(task, {})
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


def check_encoder(
    records: Sequence[EvaluationRecord], paper: Mapping[str, Mapping[int, Points]]
) -> list[Claim]:
    """Checks that pretrained encoders, the paper's own setting, are nowhere below its curves.

    Args:
        records: of pretrained encoders, every seed; empty where there was no run.
        paper: by task and trained segments.
    """
    claims = []
    for task in TASKS:
        own = [record for record in records if record.point.task == task]
        names = recipe_names(own)
        runs = sorted(set(names.values()))
        if not runs:
            claims.append(
                _nowhere_below(subject(PRETRAINED_ENCODER, TITLES[task]), [], paper[task])
            )
        claims += [
            _nowhere_below(
                f"{subject(PRETRAINED_ENCODER, TITLES[task])}, {run}",
                [record for record in own if names[record.point.weights] == run],
                paper[task],
            )
            for run in runs
        ]
    ours = by_task(records)
    return [*claims, *(check_claims(ours, paper, kind=PRETRAINED_ENCODER) if ours else [])]


def _nowhere_below(
    title: str, records: Sequence[EvaluationRecord], paper: Mapping[int, Points]
) -> Claim:
    text = f"{title}: at least the paper's at every length of all {len(paper)} models"
    points = {
        (trained, count): share for trained, own in paper.items() for count, share in own.items()
    }
    ours = {
        (record.trained_segments, record.point.segments): record
        for record in records
        if (record.trained_segments, record.point.segments) in points
    }
    if not ours:
        return Claim(text, "its curves", "no run yet", "not measurable")
    below = [point for point, record in ours.items() if record.high < points[point]]
    if below:
        trained, count = worst = min(below, key=lambda at: ours[at].accuracy - points[at])
        found = (
            f"below it at {len(below)} of {len(ours)}, most trained on {trained}, read {count}: "
            f"{format_accuracy(ours[worst].accuracy)} against {format_accuracy(points[worst])}"
        )
        return Claim(text, "its curves", found, "fail", "95 % interval")
    found = f"at {len(ours)} of {len(points)}"
    outcome: Outcome = "pass" if len(ours) == len(points) else "not measurable"
    return Claim(text, "its curves", found, outcome, "95 % interval")


def _knows(title: str, curves: Mapping[int, Curve]) -> Claim:
    own = {trained: curve[trained] for trained, curve in curves.items() if trained in curve}
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
