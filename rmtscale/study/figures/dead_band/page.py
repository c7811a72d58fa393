"""The page of the dead band, its verdict first, and its numbers."""

from __future__ import annotations

from dataclasses import replace
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.study.figures.dead_band.claims import (
    DRIFTS,
    LONGEST,
    Comparisons,
    check_claims,
    compare,
)
from rmtscale.study.figures.dead_band.drawing import draw
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.claims import words
from rmtscale.study.figures.memory_tasks.page import accuracy_tables, figure_report
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.records.dead_band import without_sink
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.widths import CHANGES, WIDTHS_FILE, ChosenWidths, WidthStore
from rmtscale.units import format_tokens

_WHAT = (
    "This is a variant and not the paper's RMT: at inference a number of the memory keeps its old "
    "value unless one segment changes it by at least the dead band. Weights and training are those "
    "of [Figure 5](../figure-5/README.md), whose results stay those of plain RMT."
)
_CHOSEN = "`rmtscale dead-band` in training text alone"


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records with a dead band and without, or from the committed ones.

    How dead bands were chosen stands in ``widths.jsonl`` beside them.

    Raises:
        BadInput: no such file, or no record in it has a dead band.
    """
    path = sources.records or REPORTS / figure.name / "records.jsonl"
    records = without_sink(EvaluationStore(path).read().latest().values())
    if not records:
        raise BadInput(f"records {str(path)!r}: expected a file that 'rmtscale evaluate' wrote")
    widths = list(WidthStore(path.with_name(WIDTHS_FILE)).read().latest().values())
    ours = compare(records, ChosenWidths(widths))
    paper = {task: points for (task,), points in paper_points("figure_5", ("segments",)).items()}
    report = figure_report(
        figure,
        None,
        records,
        claims=check_claims(ours, paper),
        drawing=draw(ours),
        caption="Accuracy against input length, with a dead band and without",
        tables=accuracy_tables(
            {
                TITLES[task]: {
                    name: curve
                    for seed, pair in pairs.items()
                    for name, curve in (
                        (
                            f"seed {seed}, dead band {pair.dead_band:g} ({pair.width_chosen})",
                            pair.held,
                        ),
                        (f"seed {seed}, plain", pair.plain),
                    )
                    if curve
                }
                for task, pairs in ours.items()
            }
        ),
        hint="Try one: `rmtscale evaluate reports/figure-5/checkpoints/reasoning-0 "
        "--segments 1,2,4,8 --dead-band 0.3`. What else was tried, and how the dead bands were "
        "chosen: [tried](tried/README.md).",
        lead=f"{_verdict(ours)}{fill(f'{_WHAT} {_how(ours)}', 100, break_on_hyphens=False)}",
    )
    if not widths:
        return report
    lines = "".join(record.to_line() + "\n" for record in widths)
    return replace(report, files={**report.files, WIDTHS_FILE: lines})


def _how(ours: Comparisons) -> str:
    """Says how the widths were chosen."""
    ways = {pair.width_chosen for pairs in ours.values() for pair in pairs.values()}
    if ways == {f"by {CHANGES}"}:
        return f"Each dead band was chosen by {_CHOSEN}, by changes of the memory."
    return (
        f"In brackets how each dead band was chosen for these weights by {_CHOSEN}: by changes of "
        "the memory, or by accuracy. Of a borrowed one no record says so."
    )


def _verdict(ours: Comparisons) -> str:
    """Says in one sentence what the dead band does to the task that drifts."""
    pairs = ours.get(DRIFTS, {})
    ends = [pair for pair in pairs.values() if LONGEST in pair.held and LONGEST in pair.plain]
    if not ends:
        return ""
    held, plain = ends[0].held[LONGEST], ends[0].plain[LONGEST]
    text = (
        f"**After {format_tokens(held.point.tokens)} tokens {TITLES[DRIFTS]} is right in "
        f"{words(held)} with a dead band of {ends[0].dead_band:g}, and in {words(plain)} without.**"
    )
    return f"{fill(text, 100, break_on_hyphens=False)}\n\n"
