"""The page of the dead band: what it changes in two lines and a table, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.study.figures.dead_band.claims import check_claims
from rmtscale.study.figures.dead_band.comparisons import (
    Comparisons,
    compare,
    groups_of,
    records_of,
)
from rmtscale.study.figures.dead_band.drawing import HEADLINE, draw
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.figures.memory_tasks.backbones import capital, described
from rmtscale.study.figures.memory_tasks.page import Section, figure_report, recipe_tables
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.summary import (
    headline,
    how_to_read,
    lead,
    summary_table,
)
from rmtscale.study.figures.memory_tasks.trainings import trained_on_words
from rmtscale.study.records.dead_band import without_sink
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.widths import CHANGES, WIDTHS_FILE, ChosenWidths, WidthStore

_WHAT = (
    "This is a variant and not the paper's RMT: at inference a number of the memory keeps its old "
    "value unless one segment changes it by at least the dead band. Weights and training are those "
    "of [Figure 5](../figure-5/README.md), whose results stay those of plain RMT; of a seed "
    "with several trainings, those of the one whose weights are kept."
)
_IN_BRACKETS = "In brackets the same weights without the dead band (plain)."
_WHY = "../figure-5/tried/README.md#reasoning-seed-2-trained-on"
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
    kinds = compare(records, ChosenWidths(widths))
    paper = {task: points for (task,), points in paper_points("figure_5", ("segments",)).items()}
    groups = groups_of(kinds)
    main, *others = groups
    report = figure_report(
        figure,
        None,
        records,
        claims=check_claims(kinds[main.kind], paper, kind=main.kind),
        drawing=draw(groups),
        caption="Accuracy against input length, with a dead band and without",
        tables=recipe_tables(main),
        more=[
            Section(
                title=capital(group.kind),
                text=described(records_of(kinds[group.kind])),
                claims=check_claims(kinds[group.kind], paper, kind=group.kind),
                tables=recipe_tables(group, level=3),
            )
            for group in others
        ],
        hint="Try one: `rmtscale evaluate reports/figure-5/checkpoints/reasoning-0 "
        "--segments 1,2,4,8 --dead-band 0.3`. What else was tried, and how the dead bands were "
        "chosen: [tried](tried/README.md).",
        lead="\n\n".join(
            (
                lead(headline(groups, HEADLINE)),
                summary_table(groups),
                _paragraph(_IN_BRACKETS, how_to_read(groups)),
                _paragraph(_WHAT, _how(kinds), trained_on_words(records, _WHY)),
            )
        ),
    )
    if not widths:
        return report
    lines = "".join(record.to_line() + "\n" for record in widths)
    return replace(report, files={**report.files, WIDTHS_FILE: lines})


def _paragraph(*sentences: str) -> str:
    return fill(" ".join(filter(None, sentences)), 100, break_on_hyphens=False)


def _how(kinds: Mapping[str, Comparisons]) -> str:
    """Says how the widths were chosen."""
    ways = {
        pair.width_chosen
        for ours in kinds.values()
        for pairs in ours.values()
        for pair in pairs.values()
    }
    if ways == {f"by {CHANGES}"}:
        return f"Each dead band was chosen by {_CHOSEN}, by changes of the memory."
    return (
        "The tables below say in brackets how each dead band was chosen for these weights by "
        f"{_CHOSEN}: by changes of the memory, or by accuracy. Of a borrowed one no record says so."
    )
