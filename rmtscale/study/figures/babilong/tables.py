"""BABILong's tables as Markdown: accuracies beside the published ones, and what a sample takes.

Lengths stand below one another, so that a row is short enough for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rmtscale.study.figures.babilong.full_attention import full_attention_seconds
from rmtscale.study.figures.babilong.published import SHORT, Shares, average, published
from rmtscale.study.figures.babilong.runs import (
    DEAD_BAND,
    PLAIN,
    Run,
    mean_accuracies,
    models,
    shown,
)
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.tabular import markdown_table
from rmtscale.units import (
    format_bytes,
    format_compiled,
    format_count,
    format_score,
    format_score_interval,
    format_seconds,
    format_tokens,
)

NO_RUN = "no run yet"
OURS = {PLAIN: "ours", DEAD_BAND: "band"}
"""Headings of our columns."""
_FEW = 100
"""Samples of which each is a whole percent; with fewer, one is more than that."""


def average_table(runs: Sequence[Run]) -> str:
    """Writes averages over the five tasks: a row for each length, a column for each system."""
    theirs = {name: average(tasks) for name, tasks in published().items()}
    ours = [mean_accuracies(shown(runs, variant)) for variant in OURS]
    rows = [
        [length, *(_percent(shares, length) for shares in (*theirs.values(), *ours))]
        for length in LENGTHS
    ]
    return markdown_table(("average, %", *SHORT.values(), *OURS.values()), rows)


def models_table(runs: Sequence[Run], task: str | None = None) -> str | None:
    """Writes the accuracies of each model alone; None unless there are several.

    A model is a backbone that learned each task apart, or one of all five tasks.

    Args:
        runs: of any kind.
        task: the only one; None averages over the five, of models that have all of them.
    """
    columns: dict[str, Sequence[str]] = {}
    names = []
    for name in models(runs):
        for variant, heading in OURS.items():
            own = shown(runs, variant, name)
            if task is None:
                shares = mean_accuracies(own)
                cells = [_percent(shares, length) for length in LENGTHS]
            else:
                curve = own[task].curve if task in own else {}
                cells = [score(curve[one]) if one in curve else "" for one in LENGTHS]
            if any(cells):
                columns[f"{heading}: {name}"] = cells
                names.append(name)
    if len(set(names)) < 2:
        return None
    rows = [list(row) for row in zip(LENGTHS, *columns.values(), strict=True)]
    return markdown_table((f"{task or 'average'}, %", *columns), rows)


def task_table(task: str, runs: Sequence[Run]) -> str:
    """Writes the accuracies of one task by length: the published, and the runs that are shown."""
    best = [shown(runs, variant).get(task) for variant in OURS]
    rows = []
    for length in LENGTHS:
        row = [length]
        for name in SHORT:
            theirs = published()[name].get(task, {})
            row.append(format_score(theirs[length], 0) if length in theirs else "")
        for run in best:
            record = None if run is None else run.curve.get(length)
            row += ["", ""] if record is None else [score(record), _interval(record)]
        rows.append(row)
    ours = (name for heading in OURS.values() for name in (heading, "95 %"))
    return markdown_table((f"{task}, %", *SHORT.values(), *ours), rows)


def score(record: BabilongRecord) -> str:
    """Returns the accuracy in percent, with as many digits as its samples tell."""
    return format_score(record.accuracy, 1 if record.point.samples > _FEW else 0)


def score_with_interval(record: BabilongRecord) -> str:
    """Returns the accuracy in percent with its 95 % interval."""
    return f"{score(record)} ({_interval(record)})"


def cost_table(best: Mapping[str, Run]) -> str:
    """Writes what a sample of each length takes, of the first task that has one."""
    rows = []
    for length, record in _first(best).items():
        alone, full = _alone(best, length), full_attention_seconds(record)
        peak = record.memory.peak_bytes
        rows.append(
            [
                length,
                record.point.stories,
                format_tokens(record.tokens),
                format_count(record.tokens_per_second, 3)
                + format_compiled(record.point.compile_step),
                "" if peak is None else format_bytes(peak),
                format_tokens(record.batch_size),
                format_seconds(record.seconds_per_sample),
                "" if alone is None else format_seconds(alone),
                "" if full is None else format_seconds(full),
            ]
        )
    columns = (
        *("length", "task", "tokens", "tokens/s", "peak memory", "side by side", "a sample"),
        *("one alone", "full attention, at least"),
    )
    return markdown_table(columns, rows)


def beside_full_attention(best: Mapping[str, Run]) -> str:
    """Says at which lengths one sample alone is certainly faster than full attention, and at which
    it may not be; nothing where none was read alone."""
    shares = {
        length: full / alone
        for length, record in _first(best).items()
        if (alone := _alone(best, length)) is not None
        if (full := full_attention_seconds(record)) is not None
    }
    behind = [length for length, share in shares.items() if share <= 1]
    ahead = [length for length, share in shares.items() if share > 1]
    words = [f"full attention may be faster at {', '.join(behind)}"] if behind else []
    if ahead:
        words.append(
            f"the RMT is faster at {', '.join(ahead)}, at {ahead[-1]} by a factor of "
            f"{shares[ahead[-1]]:.2g} at least"
        )
    return f"One sample alone: {'; '.join(words)}." if words else ""


def _first(best: Mapping[str, Run]) -> dict[str, BabilongRecord]:
    """Returns a record of each length that was read, of the first task that has it."""
    found: dict[str, BabilongRecord] = {}
    for length in LENGTHS:
        for run in best.values():
            if length in run.curve:
                found.setdefault(length, run.curve[length])
    return found


def _alone(best: Mapping[str, Run], length: str) -> float | None:
    """Returns the seconds of a sample that was read alone, of the first task that has one."""
    found = (one for run in best.values() if (one := run.alone(length)) is not None)
    return next((one.seconds_per_sample for one in found), None)


def names_of_ours(task: str, runs: Sequence[Run]) -> str:
    """Says which runs stand in the columns of ours, of how many samples each, and how many others
    there are."""
    words, own = [], [run for run in runs if run.task == task]
    for variant, heading in OURS.items():
        run = shown(runs, variant).get(task)
        title = NO_RUN if run is None else f"{run.title}. Samples: {samples_in_words([run])}"
        words.append(f"{heading.capitalize()}: {title}.")
    every = "1 run" if len(own) == 1 else f"All {len(own)} runs"
    return f"{' '.join(words)} [{every} of {task}](runs.md#{task})."


def samples_in_words(runs: Iterable[Run]) -> str:
    """Says how many samples the points have, shortest length first.

    Args:
        runs: one or more; where their points of a length have different numbers, all are said.

    Returns:
        ``1,000 from 0k to 32k, 100 or 400 from 64k to 1M, 100 at 10M``.
    """
    counts: dict[str, set[int]] = {}
    for run in runs:
        for length, record in run.curve.items():
            counts.setdefault(length, set()).add(record.point.samples)
    parts = []
    read = [length for length in LENGTHS if length in counts]
    for numbers, group in groupby(read, key=lambda length: sorted(counts[length])):
        first, *rest = group
        where = f"from {first} to {rest[-1]}" if rest else f"at {first}"
        parts.append(f"{' or '.join(map(format_tokens, numbers))} {where}")
    return ", ".join(parts)


def _percent(shares: Shares, length: str) -> str:
    return format_score(shares[length]) if length in shares else ""


def _interval(record: BabilongRecord) -> str:
    return format_score_interval(record.low, record.high)
