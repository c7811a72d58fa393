"""Figure 2 of the paper: FLOPs of a forward pass relative to 512 tokens, and what others count.

Two figures: the paper's two panels with its own points drawn over our lines, and the saving
(full attention / RMT) under every convention, memory tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.report import style

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
    """Draws both panels: our lines and the paper's points.

    Args:
        ours, paper: by series, FLOPs over those of 512 tokens; drawn by length into the panels.
        headlines: by series, full / RMT at the longest length, written into panel b.
    """
    figure, panels = style.new_figure(2, width=11.0, height=4.8)
    limits = (("a", 512, 32_768), ("b", 64_000, 2_048_000))
    for axes, (name, shortest, longest) in zip(panels, limits, strict=True):
        ends = []
        for series, colour, line in _looks(list(ours)):
            shown = [point for point in ours[series] if shortest <= point.tokens <= longest]
            axes.plot(*_columns(shown), line, color=colour)
            marks = [point for point in paper[series] if shortest <= point.tokens <= longest]
            axes.plot(*_columns(marks), "o", color=colour, mfc="white", ms=4.5, mew=1.0)
            ratio = f"  ÷{headlines[series]:,.2f}" if name == "b" and series in headlines else ""
            ends.append((longest, shown[-1].value, _title(series) + ratio, colour))
        lengths = [point.tokens for point in next(iter(ours.values()))]
        style.token_axis(axes, [tokens for tokens in lengths if shortest <= tokens <= longest])
        style.plain_log_axis(axes)
        axes.set_ylabel("FLOPs of a forward pass, 512 tokens = 1")
        axes.set_title(f"{name}) {style.short_tokens(shortest)} to {style.short_tokens(longest)}")
        axes.set_xlim(shortest * 0.93, longest * (3.4 if name == "a" else 3.6))
        style.label_line_ends(axes, ends)
    panels[0].plot([], [], "-", color=style.REFERENCE_COLOUR, label="rmtscale, paper convention")
    panels[0].plot(
        [], [], "o", color=style.REFERENCE_COLOUR, mfc="white", label="the paper's points"
    )
    panels[0].legend(frameon=False, loc="upper left")
    return figure


@style.styled
def draw_conventions(savings: Mapping[tuple[str, str], Sequence[Point]]) -> Figure:
    """Draws full attention over RMT against length, by model (panel) and convention (line)."""
    models = list(dict.fromkeys(model for model, _ in savings))
    figure, panels = style.new_figure(len(models), width=11.0, height=4.4)
    lines = {"paper": "-", "hoffmann": "--", "matmul": "-.", "kaplan": ":"}
    for axes, model in zip(panels, models, strict=True):
        ends = []
        for (owner, convention), points in savings.items():
            if owner != model:
                continue
            colour = style.SEQUENCE_COLOURS[list(lines).index(convention)]
            axes.plot(*_columns(points), lines[convention], color=colour)
            last = points[-1]
            ends.append((last.tokens, last.value, f"{convention} {last.value:,.1f}", colour))
        lengths = [point.tokens for point in points]
        style.token_axis(axes, lengths[::2])
        style.plain_log_axis(axes)
        axes.axhline(1.0, color=style.REFERENCE_COLOUR, linewidth=0.8)
        axes.annotate(
            "below this line full attention is cheaper",
            (lengths[-1] * 6, 1.0),
            xytext=(0, -10),
            textcoords="offset points",
            fontsize=7.5,
            ha="right",
            color=style.REFERENCE_COLOUR,
        )
        axes.set_ylabel("FLOPs of full attention / FLOPs of RMT")
        axes.set_title(f"{model}: what RMT saves")
        axes.set_ylim(bottom=0.6)
        axes.set_xlim(lengths[0] * 0.85, lengths[-1] * 6)
        style.label_line_ends(axes, ends)
    return figure


def _looks(series: list[str]) -> list[tuple[str, str, str]]:
    """Returns ``(series, colour, line)``: models in sequence, RMT and the rule of thumb apart."""
    looks = []
    colours = iter(style.SEQUENCE_COLOURS)
    for name in series:
        if name == RMT_SERIES:
            looks.append((name, style.RMT_COLOUR, "-"))
        elif name == QUADRATIC_SERIES:
            looks.append((name, style.REFERENCE_COLOUR, ":"))
        else:
            looks.append((name, next(colours), "-"))
    return looks


def _title(series: str) -> str:
    return {RMT_SERIES: "RMT, linear", QUADRATIC_SERIES: "r + r²/10"}.get(series, series)


def _columns(points: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [point.tokens for point in points], [point.value for point in points]
