"""Figure 9 of the paper: loss of proofs by segments read, and what a lemma's name costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rmtscale.report import style
from rmtscale.report.style import Look
from rmtscale.study.figures.language.groups import (
    Runs,
    mean_curve,
    mean_part,
    require_same_targets,
    runs_of,
)
from rmtscale.study.figures.language.lines import segments_axis
from rmtscale.study.records.clusters import Part, bits_interval
from rmtscale.study.records.language import ALL, LanguageRecord
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAST, NAMES, NAMES_WITHOUT = "last-segment", "names", "names-without"
OTHER_LEMMA = "another lemma stands in its place"
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
    def kind(self) -> str:
        """Its words in the legend."""
        if self.one_pass:
            return f"no memory, {format_tokens(self.segment_tokens)} tokens in one pass"
        return "memory" if self.memory else "no memory"

    def label(self, unit_tokens: int) -> str:
        """Names it, with the size of its segments where that is not ``unit_tokens``."""
        if self.one_pass:
            return self.kind
        name = f"{self.kind}, trained on {format_tokens(self.trained)}"
        if self.segment_tokens == unit_tokens:
            return name
        return f"{name}, segments of {format_tokens(self.segment_tokens)}"

    @property
    def look(self) -> Look:
        """With memory as RMT, without as full attention; a star reads all in one pass."""
        if self.memory:
            return Look(style.RMT_COLOUR, "s", "-")
        if self.one_pass:
            return Look("#882255", "*", "-.")
        return Look(style.FULL_COLOUR, "o", "--")


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
    """Draws a column for each training: losses, names of lemmas, and what a lemma is worth.

    Args:
        models: ours.
        title: the answer in words.
    """
    from matplotlib.figure import Figure

    unit = max((model.segment_tokens for model in models if model.memory), default=0)
    unit = unit or max(model.segment_tokens for model in models)
    trainings = sorted({model.trained for model in models if not model.one_pass}) or [1]
    rows = (
        ("all tokens", "bits per byte"),
        (f"the last {format_tokens(unit)} tokens", "bits per byte"),
        ("names of lemmas", "bits per byte"),
        ("a lemma's worth", "bits per byte of its name"),
    )
    figure = Figure(figsize=(3.5 * len(trainings) + 0.3, 1.0 + 2.4 * len(rows)))
    grid = figure.subplots(len(rows), len(trainings), squeeze=False, sharey="row")
    for column, trained in enumerate(trainings):
        some = [model for model in models if model.trained == trained or model.one_pass]
        panels = grid[:, column]
        for axes, part in ((panels[0], ALL), (panels[1], LAST)):
            for model in some:
                _draw(axes, model, part, unit)
        for model in some:
            _draw(panels[2], model, NAMES, unit)
            _draw(panels[2], model, NAMES_WITHOUT, unit, hollow=True)
        _worth(panels[3], some, unit)
        for axes, (words, label) in zip(panels, rows, strict=True):
            axes.set_title(f"{words}: trained on {trained}")
            axes.set_ylabel("" if column else label)
    counts = sorted(
        {count for model in models if model.memory for run in model.runs.values() for count in run}
    )
    for axes in grid.flat:
        segments_axis(axes, counts or [1, 2], room=0.0)
        axes.set_xlabel("")
    for axes in grid[-1]:
        axes.set_xlabel(f"segments of {format_tokens(unit)} tokens read")
    _legend(figure, models, wide=len(trainings) > 2)
    style.headline(figure, title)
    return figure


def _legend(figure: Figure, models: Sequence[Prover], *, wide: bool) -> None:
    """Says under all panels what colours, stars and open markers are; in one line of a wide one."""
    from matplotlib.lines import Line2D

    shown: dict[str, Any] = {model.kind: model.look for model in reversed(models)}
    handles: list[Any] = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, ms=5, label=kind)
        for kind, look in shown.items()
    ]
    handles.append(
        Line2D([], [], color="#444444", ls=":", marker="o", mfc="white", ms=5, label=OTHER_LEMMA)
    )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles) if wide else 1,
        frameon=False,
        fontsize=8.5,
    )


def worth(runs: Runs) -> dict[int, tuple[float, float, float]]:
    """Computes the bits per byte that lemmas in the context take off their names, by segments read.

    Mean, low and high: the same names in the same proofs, paired by source file.
    """
    points = {}
    for count in mean_curve(runs, lambda _: 0.0):
        parts = [worth_part(curve[count]) for curve in runs.values()]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts) and len({part.tokens for part in known}) == 1:
            interval = bits_interval(mean_part(known))
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


def _worth(axes: Axes, models: Sequence[Prover], unit: int) -> None:
    axes.axhline(0, color=style.REFERENCE_COLOUR, linewidth=0.8)
    for model in models:
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


def _draw(
    axes: Axes,
    model: Prover,
    part: str,
    unit: int,
    *,
    hollow: bool = False,
) -> None:
    def value(record: LanguageRecord) -> float:
        known = record.parts.get(part)
        return math.nan if known is None else known.bits_per_byte

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
        gid=model.kind,  # open markers are the same model, and the legend says what they are
    )


def _columns(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    return list(points), list(points.values())
