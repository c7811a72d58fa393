"""Figure 9 of the paper: perplexity of proofs by segments read, and what a lemma's name costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.report import style
from rmtscale.report.style import Look
from rmtscale.study.figures.language.groups import (
    Runs,
    mean_curve,
    mean_part,
    require_same_targets,
    runs_of,
)
from rmtscale.study.figures.language.lines import headline, segments_axis
from rmtscale.study.figures.trained import trained_look
from rmtscale.study.records.clusters import Part, mean_interval
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAST, NAMES, NAMES_WITHOUT = "last-segment", "names", "names-without"
_STAR = 9
"""Size of a marker that no line leads to."""


class Prover(NamedTuple):
    """One model, all its seeds."""

    memory: bool
    trained: int
    segment_tokens: int
    runs: Runs
    """Records by seed and segments read."""

    @property
    def one_pass(self) -> bool:
        """Nothing is cut: it reads all of a sample at once."""
        return not self.memory and self.trained == 1

    @property
    def look(self) -> Look:
        """Without memory one colour, and the marker of those with it that were trained alike."""
        with_memory = trained_look(self.trained)
        if self.memory:
            return with_memory
        return Look(style.FULL_COLOUR, "*" if self.one_pass else with_memory.marker, "--")

    def label(self, unit_tokens: int) -> str:
        """Names it, with the size of its segments where that is not ``unit_tokens``."""
        if self.one_pass:
            return f"no memory, {format_tokens(self.segment_tokens)} tokens in one pass"
        name = f"{'' if self.memory else 'no '}memory, trained on {format_tokens(self.trained)}"
        if self.segment_tokens == unit_tokens:
            return name
        return f"{name}, segments of {format_tokens(self.segment_tokens)}"


def provers(records: Iterable[LanguageRecord]) -> list[Prover]:
    """Groups records into models: without memory first, then by segments trained on.

    Raises:
        BadInput: two models that nothing tells apart, or readings of other text.
    """
    groups: dict[tuple[bool, int, int], list[LanguageRecord]] = {}
    lengths: dict[int, list[LanguageRecord]] = {}
    for record in records:
        model = record.model
        key = (bool(model.memory_tokens), model.trained_segments, record.point.segment_tokens)
        groups.setdefault(key, []).append(record)
        lengths.setdefault(record.point.tokens, []).append(record)
    for group in lengths.values():
        require_same_targets(group)
    return [Prover(*key, runs_of(groups[key])) for key in sorted(groups)]


@style.styled
def draw(models: Sequence[Prover], title: str = "") -> Figure:
    """Draws the perplexity of all tokens and of the last segment, and below names of lemmas.

    Args:
        found: our models.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.8, 7.4))
    grid = figure.subplots(2, 2)
    unit = max((model.segment_tokens for model in models if model.memory), default=0)
    unit = unit or max(model.segment_tokens for model in models)
    for axes, part, words in (
        (grid[0][0], ALL, "all tokens"),
        (grid[0][1], LAST, f"the last segment, {format_tokens(unit)} tokens"),
    ):
        _perplexities(axes, models, part, unit)
        axes.set_title(words)
        axes.set_ylabel("perplexity")
    _names(grid[1][0], models, unit)
    _worth(grid[1][1], models, unit)
    counts = sorted(
        {count for model in models if model.memory for run in model.runs.values() for count in run}
    )
    for axes in grid.flat:
        segments_axis(axes, counts or [1, 2], room=0.0)
        axes.set_xlabel(f"segments of {format_tokens(unit)} tokens read")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 4),
        frameon=False,
        fontsize=8,
    )
    headline(figure, title)
    return figure


def worth(runs: Runs) -> dict[int, tuple[float, float, float]]:
    """Computes the nats that lemmas in the context take off their names, by segments read.

    Mean, low and high: the same names in the same proofs, paired by source file.
    """
    points = {}
    for count in mean_curve(runs, lambda _: 0.0):
        parts = [worth_part(curve[count]) for curve in runs.values()]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts) and len({part.tokens for part in known}) == 1:
            interval = mean_interval(mean_part(known))
            points[count] = (interval.mean, interval.low, interval.high)
    return points


def worth_part(record: LanguageRecord) -> Part | None:
    """Computes what the lemmas take off their names, by source file; None without names."""
    with_lemma, without = record.parts.get(NAMES), record.parts.get(NAMES_WITHOUT)
    if with_lemma is None or without is None or with_lemma.tokens != without.tokens:
        return None
    if not with_lemma.total_tokens:
        return None
    pairs = zip(without.loss_nats, with_lemma.loss_nats, strict=True)
    return replace(with_lemma, loss_nats=tuple(more - less for more, less in pairs))


def _perplexities(axes: Axes, models: Sequence[Prover], part: str, unit: int) -> None:
    for model in models:
        _draw(axes, model, part, unit, label=model.label(unit), perplexity=True)


def _names(axes: Axes, models: Sequence[Prover], unit: int) -> None:
    """Draws the loss on names for the longest training."""
    for model in _with_few_baselines(models, all_memory=False):
        _draw(axes, model, NAMES, unit)
        _draw(axes, model, NAMES_WITHOUT, unit, hollow=True)
    for words, line, face in (
        ("the lemma is in the context", "-", "#444444"),
        ("another stands in its place", ":", "white"),
    ):
        axes.plot(
            [], [], line, color="#444444", marker="o", markerfacecolor=face, ms=4, label=words
        )
    axes.legend(frameon=False, fontsize=7.5)
    axes.set_title("names of lemmas in the proof")
    axes.set_ylabel("loss, nats per token")


def _worth(axes: Axes, models: Sequence[Prover], unit: int) -> None:
    axes.axhline(0, color=style.REFERENCE_COLOUR, linewidth=0.8)
    for model in _with_few_baselines(models, all_memory=True):
        points = worth(model.runs)
        means = [mean for mean, _, _ in points.values()]
        errors = [
            [mean - low for mean, low, _ in points.values()],
            [high - mean for mean, _, high in points.values()],
        ]
        axes.errorbar(
            [count * model.segment_tokens / unit for count in points],
            means,
            yerr=errors,
            linestyle=model.look.line,
            color=model.look.colour,
            marker=model.look.marker,
            markersize=_STAR if model.one_pass else 4,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
        )
    axes.set_title("what the lemma in the context is worth")
    axes.set_ylabel("nats per token of its name")


def _with_few_baselines(models: Sequence[Prover], *, all_memory: bool) -> list[Prover]:
    """Picks the longest training, with memory and without, and one pass: all would be too many."""
    longest = max((model.trained for model in models), default=0)
    return [
        model
        for model in models
        if model.trained == longest or model.one_pass or (model.memory and all_memory)
    ]


def _draw(
    axes: Axes,
    model: Prover,
    part: str,
    unit: int,
    *,
    label: str | None = None,
    perplexity: bool = False,
    hollow: bool = False,
) -> None:
    def value(record: LanguageRecord) -> float:
        known = record.parts.get(part)
        if known is None:
            return math.nan
        return known.perplexity if perplexity else known.mean_nats

    scale, look = model.segment_tokens / unit, model.look
    line = ":" if hollow else look.line
    for curve in model.runs.values():
        points = {count * scale: value(record) for count, record in curve.items()}
        axes.plot(*_columns(points), line, color=look.colour, linewidth=0.6, alpha=0.45)
    points = {count * scale: mean for count, mean in mean_curve(model.runs, value).items()}
    axes.plot(
        *_columns(points),
        line,
        color=look.colour,
        marker=look.marker,
        markersize=_STAR if model.one_pass else 5,
        markerfacecolor="white" if hollow else look.colour,
        label=label,
    )


def _columns(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    return list(points), list(points.values())
