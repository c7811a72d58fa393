"""Figure 2 of the paper: FLOPs of a forward pass relative to 512 tokens, and what others count.

Two figures: the paper's two panels with its own points drawn over our lines, and the saving
(full attention / RMT) under every convention, memory tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.report import style
from rmtscale.report.names import label_line_ends, names_inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RMT_SERIES = "RMT linear scaling"
QUADRATIC_SERIES = "(len^2)/10 scaling"


class Point(NamedTuple):
    """One point of a series."""

    tokens: int
    value: float


@style.styled
def draw_scaling(
    ours: Mapping[str, Sequence[Point]],
    paper: Mapping[str, Sequence[Point]],
    headlines: Mapping[str, float],
) -> Figure:
    """Draws short and long inputs, small and large models: our lines and the paper's points.

    Args:
        ours, paper: by series, FLOPs over those of 512 tokens; drawn by length into the panels.
        headlines: by series, full / RMT at the longest length, written into panel b.
    """
    ranges = (("a", 512, 32_768), ("b", 64_000, 2_048_000))
    models = [name for name in ours if name not in (RMT_SERIES, QUADRATIC_SERIES)]
    half = len(models) // 2
    beside = [name for name in ours if name not in models]
    looks = _looks(list(ours))
    labels = [_label(name, "b", headlines) for name in ours]
    figure, grid = style.new_grid(
        4,
        height=3.5,
        margins=style.Margins(left=0.95, right=names_inches(labels), top=0.4),
        below=0.35,
    )
    panels = [
        (range_, [*some, *beside]) for range_ in ranges for some in (models[:half], models[half:])
    ]
    for (axes,), ((name, shortest, longest), shown_series) in zip(grid, panels, strict=True):
        ends = []
        for series in shown_series:
            colour, line = looks[series]
            shown = [point for point in ours[series] if shortest <= point.tokens <= longest]
            axes.plot(*_columns(shown), line, color=colour, gid=series)
            marks = [point for point in paper[series] if shortest <= point.tokens <= longest]
            axes.plot(*_columns(marks), "o", color=colour, mfc="white", ms=4.5, mew=1.0)
            ends.append((longest, shown[-1].value, _label(series, name, headlines), colour))
        lengths = [point.tokens for point in next(iter(ours.values()))]
        ticks = [tokens for tokens in lengths if shortest <= tokens <= longest]
        style.token_axis(axes, ticks[::-1][::2][::-1])
        style.plain_log_axis(axes)
        axes.set_ylabel("FLOPs, 512 tokens = 1")
        between = f"{style.short_tokens(shortest)} to {style.short_tokens(longest)} tokens"
        axes.set_title(f"{name}) {between}")
        axes.set_xlim(shortest * 0.93, longest * 1.07)
        label_line_ends(axes, ends)
    colour, first = style.REFERENCE_COLOUR, grid[0][0]
    first.plot([], [], "-", color=colour, label="rmtscale, paper convention")
    first.plot([], [], "o", color=colour, mfc="white", label="the paper's points")
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    low, high = min(headlines.values()), max(headlines.values())
    style.headline(
        figure,
        f"At {style.short_tokens(ranges[-1][2])} tokens full attention takes {low:,.0f} to "
        f"{high:,.0f} times the FLOPs of RMT; the larger the model, the less RMT saves",
    )
    return figure


def _label(series: str, panel: str, headlines: Mapping[str, float]) -> str:
    saved = f"  ÷{headlines[series]:,.2f}" if panel == "b" and series in headlines else ""
    return _title(series) + saved


@style.styled
def draw_conventions(savings: Mapping[tuple[str, str], Sequence[Point]]) -> Figure:
    """Draws full attention over RMT against length, by model (panel) and convention (line)."""
    models = list(dict.fromkeys(model for model, _ in savings))
    lines = {"paper": "-", "hoffmann": "--", "matmul": "-.", "kaplan": ":"}
    figure, grid = style.new_grid(
        len(models), height=4.0, margins=style.Margins(right=names_inches(["hoffmann 214.6"]))
    )
    for (axes,), model in zip(grid, models, strict=True):
        ends = []
        for (owner, convention), points in savings.items():
            if owner != model:
                continue
            colour = style.SEQUENCE_COLOURS[list(lines).index(convention)]
            axes.plot(*_columns(points), lines[convention], color=colour, gid=convention)
            last = points[-1]
            ends.append((last.tokens, last.value, f"{convention} {last.value:,.1f}", colour))
        lengths = [point.tokens for point in points]
        style.token_axis(axes, lengths[::-1][::3][::-1])
        style.plain_log_axis(axes)
        axes.axhline(1.0, color=style.REFERENCE_COLOUR, linewidth=0.8)
        axes.set_ylabel("FLOPs of full attention / FLOPs of RMT")
        style.entitle(axes, model, "below the line at 1 full attention is cheaper")
        axes.set_ylim(bottom=0.6)
        axes.set_xlim(lengths[0] * 0.85, lengths[-1] * 1.15)
        label_line_ends(axes, ends)
    ratios = [end[-1].value for end in savings.values()]
    style.headline(
        figure,
        f"Whatever is counted, RMT saves: full attention takes {min(ratios):.0f} to "
        f"{max(ratios):.0f} times its FLOPs at {style.short_tokens(lengths[-1])} tokens",
    )
    return figure


def _looks(series: list[str]) -> dict[str, tuple[str, str]]:
    """Returns ``(colour, line)``: models in sequence, RMT and the rule of thumb apart."""
    looks = {}
    colours = iter(style.SEQUENCE_COLOURS)
    for name in series:
        if name == RMT_SERIES:
            looks[name] = (style.RMT_COLOUR, "-")
        elif name == QUADRATIC_SERIES:
            looks[name] = (style.REFERENCE_COLOUR, ":")
        else:
            looks[name] = (next(colours), "-")
    return looks


def _title(series: str) -> str:
    return {RMT_SERIES: "RMT, linear", QUADRATIC_SERIES: "r + r²/10"}.get(series, series)


def _columns(points: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [point.tokens for point in points], [point.value for point in points]
