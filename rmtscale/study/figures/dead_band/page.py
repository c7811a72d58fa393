"""The page of the dead band, its verdict first, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.study.figures.dead_band.claims import DRIFTS, LONGEST, check_claims
from rmtscale.study.figures.dead_band.comparisons import (
    Comparison,
    Comparisons,
    compare,
    first,
    latest,
    of_each_recipe,
    records_of,
)
from rmtscale.study.figures.dead_band.drawing import draw
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import (
    NOT_NOTED,
    RANDOM_DECODER,
    capital,
    described,
)
from rmtscale.study.figures.memory_tasks.claims import words
from rmtscale.study.figures.memory_tasks.page import Section, accuracy_tables, figure_report
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.trainings import trained_on_words
from rmtscale.study.records.dead_band import without_sink
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.records.widths import CHANGES, WIDTHS_FILE, ChosenWidths, WidthStore
from rmtscale.units import format_tokens

_WHAT = (
    "This is a variant and not the paper's RMT: at inference a number of the memory keeps its old "
    "value unless one segment changes it by at least the dead band. Weights and training are those "
    "of [Figure 5](../figure-5/README.md), whose results stay those of plain RMT; of a seed "
    "with several trainings, those of the one whose weights are kept."
)
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
    main, *others = kinds
    report = figure_report(
        figure,
        None,
        records,
        claims=check_claims(kinds[main], paper, kind=main),
        drawing=draw(kinds),
        caption="Accuracy against input length, with a dead band and without",
        tables=_tables(kinds[main]),
        more=[
            Section(
                title=capital(kind),
                text=described(records_of(kinds[kind])),
                claims=check_claims(kinds[kind], paper, kind=kind),
                tables=_tables(kinds[kind], level=3),
            )
            for kind in others
        ],
        hint="Try one: `rmtscale evaluate reports/figure-5/checkpoints/reasoning-0 "
        "--segments 1,2,4,8 --dead-band 0.3`. What else was tried, and how the dead bands were "
        "chosen: [tried](tried/README.md).",
        lead=f"{verdict(kinds)}{_paragraph(_WHAT, _how(kinds), trained_on_words(records, _WHY))}",
    )
    if not widths:
        return report
    lines = "".join(record.to_line() + "\n" for record in widths)
    return replace(report, files={**report.files, WIDTHS_FILE: lines})


def _paragraph(*sentences: str) -> str:
    return fill(" ".join(filter(None, sentences)), 100, break_on_hyphens=False)


def _tables(ours: Comparisons, *, level: int = 2) -> str:
    return accuracy_tables(
        {
            TITLES[task]: {
                name: curve
                for run, pair in pairs.items()
                for name, curve in (
                    (f"{run}, dead band {pair.dead_band:g} ({pair.width_chosen})", pair.held),
                    (f"{run}, plain", pair.plain),
                )
                if curve
            }
            for task, pairs in ours.items()
        },
        level=level,
    )


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
        f"In brackets how each dead band was chosen for these weights by {_CHOSEN}: by changes of "
        "the memory, or by accuracy. Of a borrowed one no record says so."
    )


def verdict(kinds: Mapping[str, Comparisons]) -> str:
    """Says what the dead band does to the tasks that drift, a sentence for each of a kind."""
    said = [
        text
        for kind, ours in kinds.items()
        for drift in DRIFTS.get(kind, ())
        for way, pairs in of_each_recipe(ours.get(drift.task, {})).items()
        if (text := _verdict_of(kind, drift.task, way, pairs))
    ]
    return "".join(f"{fill(f'**{text}**', 100, break_on_hyphens=False)}\n\n" for text in said)


def _verdict_of(kind: str, task: str, way: str, pairs: Sequence[Comparison]) -> str:
    ends = [pair for pair in first(pairs) if LONGEST in pair.shared()]
    if not ends:
        return ""
    held, plain = _worst(ends)
    after = f"after {format_tokens(held.point.tokens)} tokens"
    start = capital(after) if kind in (NOT_NOTED, RANDOM_DECODER) else f"With a {kind}, {after}"
    title = f"{TITLES[task]}{f' ({way})' if way else ''}"
    if len(ends) == 1:
        return (
            f"{start} {title} is right in {words(held)} with a dead band of "
            f"{ends[0].dead_band:g}, and in {words(plain)} without."
        )
    said = (
        f"{start} the worst of {len(ends)} trainings on {title} is right in {words(held)} with a "
        f"dead band, and the worst without one in {words(plain)}."
    )
    states = [pair for pair in latest(pairs) if LONGEST in pair.shared()]
    seeds = sorted({pair.seed for pair in states if "" not in pair.claimed})
    if not seeds:
        return said
    held, plain = _worst(states)
    which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{said} With {which} trained on, the worst are {words(held)} and {words(plain)}."


def _worst(pairs: Sequence[Comparison]) -> tuple[EvaluationRecord, EvaluationRecord]:
    """Returns the worst at the longest input with a dead band and the worst without one."""
    return (
        min((pair.held[LONGEST] for pair in pairs), key=lambda record: record.accuracy),
        min((pair.plain[LONGEST] for pair in pairs), key=lambda record: record.accuracy),
    )
