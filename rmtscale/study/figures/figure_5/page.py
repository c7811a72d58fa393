"""The page of Figure 5, and the checkpoints with how they were trained."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_5.claims import by_task, check_claims, paper_curves, peaks_of
from rmtscale.study.figures.figure_5.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.page import accuracy_tables, figure_report
from rmtscale.study.figures.memory_tasks.plan import (
    RETENTION_SEGMENTS,
    Plan,
    Trainings,
    best_checkpoint,
)
from rmtscale.study.figures.memory_tasks.runs import collect
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.training.layout import METRICS

TRAININGS = Trainings(segments=RETENTION_SEGMENTS)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of every seed; at toy size without the paper's curves."""
    planned, records = collect(figure, TRAININGS, sources)
    ours, paper = by_task(records), paper_curves()
    shown = {} if sources.quick else {task: paper[task] for task in ours}
    report = figure_report(
        figure,
        planned,
        records,
        claims=check_claims(ours, paper, long=not sources.quick),
        drawing=draw(ours, shown, peaks_of(ours)),
        caption="Accuracy against input length",
        tables=accuracy_tables(
            {
                TITLES[task]: {f"seed {seed}": curve for seed, curve in curves.items()}
                for task, curves in ours.items()
            }
        ),
        hint="Try one: `rmtscale evaluate reports/figure-5/checkpoints/memorize-0 "
        "--segments 1,2,4,8`.",
    )
    if planned is None or sources.training is None:
        return report
    return replace(report, files={**report.files, **_checkpoints(planned, sources.training)})


def _checkpoints(planned: Plan, setup: TrainingSetup) -> dict[str, bytes]:
    """Reads the evaluated checkpoints and the course of their trainings, by path."""
    files: dict[str, bytes] = {}
    for name in planned.recipes:
        (checkpoint,) = best_checkpoint(setup.folder / name).values()
        files |= {
            f"checkpoints/{name}/{file.relative_to(checkpoint)}": file.read_bytes()
            for file in sorted(checkpoint.rglob("*"))
            if file.is_file() and file.suffix != ".jsonl"
        }
        metrics = setup.folder / name / METRICS
        files[f"checkpoints/{name}/training.jsonl"] = metrics.read_bytes()
    return files
