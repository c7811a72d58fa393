"""The page of Figure 11, and the trainings it is made from."""

from __future__ import annotations

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_11.claims import by_way, check_claims
from rmtscale.study.figures.figure_11.drawing import draw
from rmtscale.study.figures.memory_tasks.page import accuracy_table, figure_report
from rmtscale.study.figures.memory_tasks.plan import Trainings
from rmtscale.study.figures.memory_tasks.runs import collect

TRAININGS = Trainings(families=("curriculum", "no-curriculum"))


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of trainings with the curriculum and without."""
    planned, records = collect(figure, TRAININGS, sources)
    ours = by_way(records)
    trained = max(record.trained_segments for record in records)
    return figure_report(
        figure,
        planned,
        records,
        claims=check_claims(ours, trained),
        drawing=draw(ours, trained),
        caption="Accuracy against segments read",
        tables=accuracy_table(
            {
                f"{way}, seed {seed}": curve
                for way, curves in ours.items()
                for seed, curve in curves.items()
            }
        ),
    )
