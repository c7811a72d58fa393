"""The page of Figure 12, and the trainings it is made from."""

from __future__ import annotations

from functools import partial

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_12.claims import (
    Ways,
    answer,
    by_way,
    check_claims,
    paper_curves,
)
from rmtscale.study.figures.figure_12.drawing import draw
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.published import counterpart
from rmtscale.study.figures.language.recipes import latex, quick_latex
from rmtscale.study.figures.language.runs import collect
from rmtscale.study.figures.language.tables import losses_table

TRAININGS = Trainings(full=partial(latex, 128), quick=quick_latex)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of models that were trained both ways."""
    records = collect(figure, TRAININGS, sources)
    ours, paper = by_way(records), paper_curves()
    beside = paper if counterpart(ours["mixing"], {128: paper["mixing"]}) else {}
    headline = answer(ours)
    return figure_report(
        figure,
        sources,
        records,
        claims=check_claims(ours, paper),
        headline=headline,
        body=_body(ours),
        drawings={figure.name: draw(ours, beside, headline)},
    )


def _body(ours: Ways) -> str:
    tables = "\n\n".join(
        f"## Ours, {way}\n\n{losses_table(size).markdown()}" for way, size in ours.items()
    )
    return f"""![Loss against segments read, fixed and mixed](figure-12.png)

Left: each stage of the curriculum has one number of segments. Right: each batch of a stage has a
number drawn from those of all stages so far. The same steps. Above ours, below the paper's; bits
per byte, but of another text, so compare shapes, not heights. A model trained on 1 segment has
nothing to mix and stands in both.

{tables}"""
