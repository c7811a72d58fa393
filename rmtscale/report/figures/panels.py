"""Series of one setting, dealt out over panels in which each can be told from the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rmtscale.report.series import Group, Series
from rmtscale.report.style import Look, look

MOST_SERIES = 5
"""In one panel: more cannot be told apart at a glance."""


def look_of(series: Series) -> Look:
    """Returns the look of a series: the same in every picture, whatever stands beside it."""
    point = series.point
    plain = not (point.capture or point.compile_step)
    return look(series.method, point.attention, point.segment_size, plain=plain)


@dataclass(frozen=True, slots=True)
class Panel:
    """Some series of a group, and what they are called where only they are drawn."""

    group: Group
    """The whole group: what is compared is compared among all of it."""
    series: tuple[Series, ...]
    title: str
    names: Mapping[str, str]
    """Short names by label, as the title says what all of them share."""

    def of(self, method: str) -> list[Series]:
        """Series of one method, in their order."""
        return [series for series in self.series if series.method == method]

    def lengths(self) -> list[int]:
        """Returns all lengths that were asked for."""
        return sorted({record.point.tokens for series in self.series for record in series.records})


def panels_of(
    groups: Sequence[Group],
    drawn: Callable[[Series], bool] = lambda _: True,
) -> list[Panel]:
    """Returns the panels of some groups.

    A group is one panel where its series can be told apart in it; else one for each kind of
    attention, else for each way of training or running, with full attention in each of them.

    Args:
        drawn: whether there is something of a series to draw.
    """
    found: list[Panel] = []
    for group in groups:
        series = [one for one in group.series if drawn(one)]
        if series:
            found += [_panel(group, part) for part in _parts(series)]
    return found


def _parts(series: Sequence[Series]) -> list[list[Series]]:
    """Splits by attention, then by what else tells RMTs apart, then by number."""
    for kind in (_same, _attention, _way):
        parts: dict[tuple[object, ...], list[Series]] = {}
        for one in series:
            parts.setdefault(kind(one), [])
        if any(one.method == "rmt" for one in series):
            parts = {kind(one): [] for one in series if one.method == "rmt"}
        for key, part in parts.items():
            part += [one for one in series if one.method == "full" and _beside(one, key, kind)]
            part += [one for one in series if one.method == "rmt" and kind(one) == key]
        shown = {one.label for part in parts.values() for one in part}
        left = [one for one in series if one.label not in shown]
        wanted = [*parts.values(), *([left] if left else [])]
        if all(_can_be_told_apart(part) for part in wanted):
            return wanted
    return [part for some in wanted for part in _apart(some)]


def _same(_series: Series) -> tuple[object, ...]:
    return ()


def _attention(series: Series) -> tuple[object, ...]:
    return (series.point.attention,)


def _way(series: Series) -> tuple[object, ...]:
    point = series.point
    return (
        point.attention,
        point.memory_tokens,
        point.bptt_segments,
        point.checkpoint_segments,
        point.checkpoint_layers,
        point.cuda_graph,
        point.capture,
        point.compile_step,
    )


def _beside(
    full: Series, key: tuple[object, ...], kind: Callable[[Series], tuple[object, ...]]
) -> bool:
    """Whether full attention stands beside the RMTs of a panel: that of their attention does."""
    return kind is _same or full.point.attention == key[0]


def _can_be_told_apart(series: Sequence[Series]) -> bool:
    return len(series) <= MOST_SERIES and len({look_of(one) for one in series}) == len(series)


def _apart(series: Sequence[Series]) -> list[list[Series]]:
    """Deals series out, one after another, into as few panels as it takes."""
    parts: list[list[Series]] = []
    for one in series:
        part = next((p for p in parts if _can_be_told_apart([*p, one])), None)
        if part is None:
            parts.append([one])
        else:
            part.append(one)
    return parts


def _panel(group: Group, series: Sequence[Series]) -> Panel:
    """Says in the title, once, what the names of all series of a panel would repeat."""
    whole = len(series) == len(group.series)
    words = {one.label: one.label.split(", ") for one in series}
    of_rmt = [words[one.label][1:] for one in series if one.method == "rmt"]
    shared = [word for word in (of_rmt[0] if of_rmt else []) if all(word in w for w in of_rmt)]
    if whole or len(series) == 1:
        shared = []
    names = {
        label: ", ".join(word for at, word in enumerate(said) if not at or word not in shared)
        for label, said in words.items()
    }
    return Panel(group, tuple(series), ", ".join([group.name, *shared]), names)
