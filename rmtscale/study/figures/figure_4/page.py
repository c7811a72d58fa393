"""The page of Figure 4, and the checkpoints it is made from."""

from __future__ import annotations

from pathlib import Path

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_4.claims import (
    LONGEST_TRAINED,
    by_task,
    check_claims,
    paper_curves,
)
from rmtscale.study.figures.figure_4.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.page import accuracy_tables, figure_report
from rmtscale.study.figures.memory_tasks.plan import Trainings
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.figures.memory_tasks.runs import collect
from rmtscale.study.training.layout import STAGES


def stage_checkpoints(folder: Path) -> dict[str, Path]:
    """Finds the checkpoints at the ends of the stages of whole segments, shortest first."""
    stages = (folder / STAGES).glob("segments-*")
    ordered = sorted(stages, key=lambda path: int(path.name.split("-")[1]))
    return {path.name: path for path in ordered}


TRAININGS = Trainings(seeds=SEEDS[:1], checkpoints=stage_checkpoints)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of one seed; at toy size without the paper's curves."""
    planned, records = collect(figure, TRAININGS, sources)
    ours, paper = by_task(records), paper_curves()
    full_size = any(record.trained_segments == LONGEST_TRAINED for record in records)
    return figure_report(
        figure,
        planned,
        records,
        claims=check_claims(ours, paper),
        drawing=draw(ours, {task: paper[task] for task in ours} if full_size else {}),
        caption="Accuracy against segments read",
        tables=accuracy_tables(
            {
                TITLES[task]: {f"trained on {trained}": curve for trained, curve in curves.items()}
                for task, curves in ours.items()
            }
        ),
    )
