"""The page of Table 1, and the trainings it is made from."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.recipes import adapted, quick_adapted
from rmtscale.study.figures.language.runs import collect
from rmtscale.study.figures.table_1.claims import answer, check_claims
from rmtscale.study.figures.table_1.table import (
    Adapted,
    adaptation_rows,
    adaptation_table,
    adaptations,
)
from rmtscale.tabular import csv_text

TRAININGS = Trainings(full=adapted, quick=quick_adapted)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the table from records of adapted backbones, read as they were trained."""
    records = collect(figure, TRAININGS, sources)
    rows, claims = adaptations(records), check_claims(records)
    return figure_report(
        figure,
        sources,
        records,
        claims=claims,
        headline=answer(claims),
        body=_body(rows),
        numbers=csv_text(adaptation_rows(rows)),
    )


def _body(rows: Sequence[Adapted]) -> str:
    return f"""{adaptation_table(rows).markdown()}

A backbone that was trained on prose is adapted to another text, its own weights frozen. Losses are
means over seeds, their intervals those of documents; peak memory and time are those of training.
Times are of the training as it ran; comparable only where trainings ran one at a time on a GPU (no
more `--jobs` than GPUs). The text before the scored tokens is read in the same pass without memory,
and in a segment of its own with two segments. With one segment there is nothing to remember yet,
and the memory tokens are a trained prompt."""
