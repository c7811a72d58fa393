"""The first lines of a page, and the small table below them with every recipe of every task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from rmtscale.study.figures.memory_tasks.axes import TITLES, Points, right_share, share_range
from rmtscale.study.figures.memory_tasks.backbones import capital
from rmtscale.study.figures.memory_tasks.shown import Group, Reading, first, latest
from rmtscale.study.figures.memory_tasks.ways import USUAL
from rmtscale.tabular import markdown_table
from rmtscale.units import format_count

_NOT_NOTED = "backbone not noted"


def headline(groups: Sequence[Group], what: str, paper: Mapping[str, Points] | None = None) -> str:
    """Says by task what the worst and the best of all trainings reach at the longest input.

    Recipes that are not drawn count too. Of a training that went on its first state counts, of
    which the claims on seeds are made. The longest input is one that plain was read at too, so that
    equal lengths are compared; of how many it was is said where it was not of all.

    Args:
        groups: all that the page shows.
        what: is right, such as ``Right answers``.
        paper: its curves by task; without them none is named.
    """
    ends = {}
    for task in TITLES:
        own = [one for group in groups for one in first(group.readings.get(task, ()))]
        longest = max((count for one in own for count in one.compared()), default=None)
        if longest is not None:
            ends[task] = longest, [one for one in own if longest in one.curve]
    if not ends:
        return f"{what}: no length was compared yet"
    top = max(at for at, _ in ends.values())
    said = []
    for task, (at, own) in ends.items():
        beside, of_how_many = _plain(own, at), _of_how_many(own, at)
        if paper and at in paper.get(task, {}):
            beside, of_how_many = f"paper {share_range([paper[task][at]])}", ""
        text = f"{TITLES[task]} {right_share(one.curve[at] for one in own)}"
        text += f" ({beside}\N{NO-BREAK SPACE}%{of_how_many})" if beside else ""
        said.append(text if at == top else f"{text} after {_tokens(own, at)}")
    farthest = [one for at, own in ends.values() if at == top for one in own]
    return f"{what} at {_tokens(farthest, top)} tokens, worst to best: {', '.join(said)}"


def lead(text: str) -> str:
    """Writes a headline as the first lines of a page."""
    return fill(f"**{' '.join(text.split())}.**", 100, break_on_hyphens=False)


def summary_table(groups: Sequence[Group], paper: Mapping[str, Points] | None = None) -> str:
    """Writes a row for each recipe on each kind of backbone, and a column for each task.

    A cell has the worst and the best of its trainings at the longest input that each was read at,
    apart where that differs, then the latest states where a training went on. What the picture
    draws is bold where it does not draw all.

    Args:
        groups: all that the page shows.
        paper: its curves by task, for a row of its own.
    """
    top, some = _top(groups), not draws_all(groups)
    tasks = [task for task in TITLES if any(group.readings.get(task) for group in groups)]
    rows: dict[str, dict[str, str]] = {}
    for group in groups:
        recipes = {task: group.recipes(task) for task in tasks if group.readings.get(task)}
        every = dict.fromkeys(recipe for own in recipes.values() for recipe in own)
        for recipe in sorted(every, key=lambda recipe: recipe not in USUAL):
            cells = rows.setdefault(label(group.kind or _NOT_NOTED, recipe), {})
            for task, own in recipes.items():
                if recipe in own:
                    cell = _cell(own[recipe], top)
                    bold = some and group.drawn(task)[0] == recipe
                    cells[task] = f"**{cell}**" if bold else cell
    columns = ("backbone, recipe", *(TITLES[task] for task in tasks))
    table = [
        [capital(name), *(cells.get(task, "") for task in tasks)] for name, cells in rows.items()
    ]
    if paper:
        shares = [paper.get(task, {}).get(top) for task in tasks]
        table.append(["The paper", *(f"{share_range([one])} %" if one else "" for one in shares)])
    return markdown_table(columns, table)


def how_to_read(groups: Sequence[Group]) -> str:
    """Says what first lines, picture and table have of all trainings."""
    every = [one for group in groups for own in group.readings.values() for one in own]
    of_all = "The first lines go from the worst to the best of all trainings"
    if len(first(every)) < len(every):
        of_all += ", of each its first state"
    apart = any(one.plain is not None and max(one.curve) not in one.plain for one in every)
    counted = " Where plain was not read of all, they say of how many." if apart else ""
    if draws_all(groups):
        return f"{of_all}.{counted}"
    return (
        f"{of_all}, drawn or not.{counted} A panel of the picture has one recipe, the one that "
        "was read with the most seeds at the longest input (bold here); the others stand in this "
        "table, in the claims and in the tables below."
    )


def draws_all(groups: Iterable[Group]) -> bool:
    """Returns whether no task of any group has a recipe that is not drawn."""
    return all(len(group.recipes(task)) < 2 for group in groups for task in group.readings)


def label(kind: str, recipe: str) -> str:
    """Names a recipe on a kind of backbone: ``pretrained encoder, all weights``."""
    return ", ".join(filter(None, (kind, recipe)))


def _cell(readings: Sequence[Reading], top: int) -> str:
    parts = [text for text, _ in _ends(first(readings), top)]
    states = latest(readings)
    seeds = sorted({one.seed for one in states if "" not in one.claimed})
    if seeds:
        listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        ends = [share for _, share in _ends(states, top)]
        parts.append(f"{', '.join(ends)} with {listed} trained on")
    return "; ".join(parts)


def _ends(readings: Sequence[Reading], top: int) -> list[tuple[str, str]]:
    """Writes what trainings reach at the longest input that each was read at, longest first, with
    the number of seeds and without.

    Where plain was not read as far, what both reach at a shorter one follows.
    """
    last: dict[tuple[int, bool], list[Reading]] = {}
    for one in readings:
        shared = max(one.compared(), default=0)
        if shared:
            last.setdefault((shared, True), []).append(one)
        if max(one.curve) > shared:
            last.setdefault((max(one.curve), False), []).append(one)
    said = []
    for (at, compared), own in sorted(last.items(), key=lambda end: end[0], reverse=True):
        share = right_share(one.curve[at] for one in own)
        plain = _plain(own, at) if compared else "plain not read"
        share += f" ({plain})" if plain else ""
        share += "" if at == top else f" after {_tokens(own, at)}"
        trainings = _trainings(own)
        said.append((f"{share}, {trainings}" if plain else f"{share} ({trainings})", share))
    return said


def _plain(readings: Sequence[Reading], at: int) -> str:
    plain = [one.plain[at].accuracy for one in readings if one.plain and at in one.plain]
    return share_range(plain) if plain else ""


def _of_how_many(readings: Sequence[Reading], at: int) -> str:
    """Says how many trainings were read plain at a length where others were not."""
    plain = sum(one.plain is not None and at in one.plain for one in readings)
    return f", {plain} of {len(readings)}" if 0 < plain < len(readings) else ""


def _trainings(readings: Sequence[Reading]) -> str:
    seeds = len({one.seed for one in readings})
    words = f"{seeds} seed{'s' if seeds > 1 else ''}"
    return words if len(readings) == seeds else f"{words}, {len(readings)} trainings"


def _tokens(readings: Sequence[Reading], at: int) -> str:
    lengths = sorted({one.curve[at].point.tokens for one in readings})
    ends = dict.fromkeys(format_count(one, digits=3) for one in (lengths[0], lengths[-1]))
    return " to ".join(ends)


def _top(groups: Iterable[Group]) -> int:
    """Returns the number of segments of the longest input that anything was read at."""
    return max(
        (
            count
            for group in groups
            for own in group.readings.values()
            for one in own
            for count in one.curve
        ),
        default=0,
    )
