"""Memory by term, predicted and stacked, beside the measured peak: where the bytes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rmtscale.costs.terms import MemoryTerm
from rmtscale.records.record import Record
from rmtscale.report import style
from rmtscale.report.figures.predicted import residuals
from rmtscale.report.predictions import device_of, peak_of
from rmtscale.report.quantities import MEMORY
from rmtscale.report.series import Group
from rmtscale.units import format_bytes, format_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS_INCHES = 1.45
"""Room to the right of a bar for the measured peak in words."""
OTHER = "other"
"""Whatever has no colour of its own: token ids, buffers, a term that is new."""
TERMS: dict[str, tuple[str, str, str]] = {
    MemoryTerm.WEIGHTS: ("weights", "#4D4D4D", ""),
    MemoryTerm.OPTIMIZER_STATE: ("optimizer state", "#8C8C8C", "//"),
    MemoryTerm.GRADIENTS: ("gradients", "#C4C4C4", ""),
    MemoryTerm.SAVED_ATTENTION: ("attention kept", "#D55E00", "xx"),
    MemoryTerm.SAVED_ACTIVATIONS: ("activations kept", "#E69F00", ""),
    MemoryTerm.LOGITS_AND_LOSS: ("logits and loss", "#CC79A7", "\\\\"),
    MemoryTerm.RECURRENT_STATE: ("recurrent state", "#0072B2", ""),
    MemoryTerm.WORKING_SET: ("working set", "#56B4E9", ".."),
    OTHER: ("other", "#F0E442", ""),
}
"""Name, colour and hatch of each term."""


def predicted_terms(record: Record) -> dict[str, int]:
    """Returns predicted bytes of one point by term; the smallest terms are put together."""
    amounts = dict.fromkeys(TERMS, 0)
    for term in peak_of(record.point, device_of(record)).terms:
        amounts[term.name if term.name in TERMS else OTHER] += term.amount
    return amounts


def shown(group: Group) -> list[tuple[str, Record]]:
    """Returns ``(label, record)``: each series at the longest common length, or at its own."""
    ran = {series.label: set(residuals(series, MEMORY)) for series in group.series}
    ran = {label: lengths for label, lengths in ran.items() if lengths}
    common = set.intersection(*ran.values()) if ran else set()
    return [
        (series.label, series.at(max(common or ran[series.label])))
        for series in group.series
        if series.label in ran
    ]


@style.styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """Draws a panel for each group; None where no point has both numbers."""
    drawn = [(group, rows) for group in groups if (rows := shown(group))]
    if not drawn:
        return None
    most = max(len(rows) for _, rows in drawn)
    longest = max(len(label) for _, rows in drawn for label, _ in rows)
    figure, panels = style.new_grid(
        len(drawn),
        height=1.1 + 0.5 * most,
        margins=style.Margins(left=0.25 + 0.068 * max(longest, 14), right=_WORDS_INCHES),
        below=0.55,
    )
    for (axes,), (group, rows) in zip(panels, drawn, strict=True):
        _bars(axes, rows)
        style.entitle(axes, group.name, _answer(rows[0]))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False, fontsize=8.5)
    style.headline(figure, _headline([rows[0] for _, rows in drawn]))
    return figure


def _largest(record: Record) -> tuple[str, float]:
    """The largest term of a point in words, and its share of the predicted peak."""
    amounts = predicted_terms(record)
    name = max(amounts, key=lambda term: amounts[term])
    return TERMS[name][0], amounts[name] / sum(amounts.values())


def _answer(row: tuple[str, Record]) -> str:
    words, share = _largest(row[1])
    return f"most of {row[0].split(', ')[0]}: {words}, {format_percent(share)}"


def _headline(rows: Sequence[tuple[str, Record]]) -> str:
    """Says what the first of each setting, full attention where there is some, is made of."""
    largest = dict.fromkeys(_largest(record)[0] for _, record in rows)
    names = {label.split(", ")[0] for label, _ in rows}
    who = "full attention" if names == {"full"} else " and ".join(sorted(names))
    return f"What the memory of {who} is made of, first of all: {', '.join(largest)}"


def _bars(axes: Axes, rows: Sequence[tuple[str, Record]]) -> None:
    from matplotlib.ticker import MaxNLocator

    # In units a reader knows, so that the axis is ticked at round numbers of them.
    unit, word = _unit(max(MEMORY.read(record) or 0.0 for _, record in rows))
    stacks = [predicted_terms(record) for _, record in rows]
    measured = [(MEMORY.read(record) or 0.0) / unit for _, record in rows]
    places = list(range(len(rows)))
    left = [0.0] * len(rows)
    for name, (words, colour, hatch) in TERMS.items():
        amounts = [stack[name] / unit for stack in stacks]
        axes.barh(
            places,
            amounts,
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            height=0.62,
            label=words,
        )
        left = [a + b for a, b in zip(left, amounts, strict=True)]
    axes.plot(
        measured,
        places,
        "D",
        color="black",
        markersize=6,
        markerfacecolor="white",
        markeredgewidth=1.6,
        label="measured",
        linestyle="none",
        gid="measured",
    )
    right = max(*measured, *left)
    for place, total, peak in zip(places, left, measured, strict=True):
        axes.annotate(
            f"{format_bytes(peak * unit)} measured",
            (max(total, peak), place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
    axes.set_xlim(0, right * 1.05)
    axes.set_yticks(
        places,
        [f"{label}\n{style.short_tokens(record.point.tokens)} tokens" for label, record in rows],
    )
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"predicted peak by term, {word}")


def _unit(size_bytes: float) -> tuple[int, str]:
    return (1024**3, "GiB") if size_bytes > 1024**3 else (1024**2, "MiB")
