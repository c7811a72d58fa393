"""The page of Figure 11, and the trainings it is made from."""

from __future__ import annotations

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_11.claims import Curves, by_way, check_claims
from rmtscale.study.figures.figure_11.drawing import draw
from rmtscale.study.figures.memory_tasks.backbones import by_kind, capital, described
from rmtscale.study.figures.memory_tasks.page import Section, accuracy_table, figure_report
from rmtscale.study.figures.memory_tasks.plan import Trainings
from rmtscale.study.figures.memory_tasks.runs import collect

TRAININGS = Trainings(families=("curriculum", "no-curriculum"))


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of trainings with the curriculum and without."""
    planned, records = collect(figure, TRAININGS, sources)
    kinds = by_kind(records)
    curves = {kind: by_way(own) for kind, own in kinds.items()}
    trained = max(record.trained_segments for record in records)
    first, *others = kinds
    return figure_report(
        figure,
        planned,
        records,
        claims=check_claims(curves[first], trained, kind=first),
        drawing=draw(curves, trained),
        caption="Accuracy against segments read",
        tables=_table(curves[first]),
        more=[
            Section(
                title=capital(kind),
                text=described(kinds[kind]),
                claims=check_claims(curves[kind], trained, kind=kind),
                tables=_table(curves[kind]),
            )
            for kind in others
        ],
    )


def _table(ours: Curves) -> str:
    return accuracy_table(
        {
            f"{way}, seed {seed}": curve
            for way, curves in ours.items()
            for seed, curve in curves.items()
        }
    )
