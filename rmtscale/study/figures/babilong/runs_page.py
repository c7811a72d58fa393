"""The page of every run: which there are, their accuracies, and every point that was read."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.babilong.runs import VARIANTS, Run, shown
from rmtscale.study.figures.babilong.tables import NO_RUN, score
from rmtscale.study.records.babilong import BabilongTraining
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.tabular import markdown_table
from rmtscale.units import (
    format_accuracy,
    format_compiled,
    format_interval,
    format_memory_tokens,
    format_seconds,
    format_tokens,
)

FILE = "runs.md"


def runs_page(title: str, runs: Sequence[Run]) -> str:
    """Writes the page: a list and a table for each task, and a row for each record."""
    parts = [
        f"# {title}: every run",
        "Made by `rmtscale reproduce babilong`, as [the page](README.md), where the runs with a "
        "star stand\nbeside the published systems. Right answers in percent.",
    ]
    for task in QAS:
        own = [(name, run) for name, run in _named(runs) if run.task == task]
        parts.append(f"## {task}")
        parts += [_list(own, runs), _table(own)] if own else [f"{NO_RUN.capitalize()}."]
    return "\n\n".join([*parts, "## Every point", _points(runs)]) + "\n"


def _named(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    """Names runs by task and number, in their order."""
    found, counts = [], dict.fromkeys(QAS, 0)
    for run in runs:
        counts[run.task] += 1
        found.append((f"{run.task}-{counts[run.task]}", run))
    return found


def _list(own: Sequence[tuple[str, Run]], runs: Sequence[Run]) -> str:
    best = [run for variant in VARIANTS for run in shown(runs, variant).values()]
    lines = []
    for name, run in own:
        star = "\\*" if any(run is one for one in best) else ""
        lines.append(f"* {name}{star}: {run.title}{_more(run)}")
    return "\n".join(lines)


def _more(run: Run) -> str:
    """Says how it was trained, as far as that was noted, and which weights these are."""
    point, training = run.records[0].point, run.training
    words = [f"weights `{point.weights}`", f"noise {point.background}"]
    if training is not None:
        words = [*_settings(training), *words]
    return f"; {', '.join(words)}"


def _settings(training: BabilongTraining) -> list[str]:
    burn_in = "/".join(map(str, training.burn_in)) or "none"
    words = [
        f"last stage {training.stage}",
        format_memory_tokens(training.memory_tokens, training.sink_tokens),
        f"segments of {training.segment_tokens}",
        f"burn-in {burn_in}",
        f"fact fragments {training.fact_fragments:g}",
        f"replay {'on' if training.replay_lost else 'off'}",
    ]
    if training.between_share is not None:
        words.append(f"between share {training.between_share:g}")
    if training.initializer_range is not None:
        words.append(f"weights drawn with {training.initializer_range:g}")
    if training.seconds is not None:
        words.append(f"{format_seconds(training.seconds)} of steps")
    return words


def _table(own: Sequence[tuple[str, Run]]) -> str:
    rows = [
        [name, *(score(run.curve[length]) if length in run.curve else "" for length in LENGTHS)]
        for name, run in own
    ]
    return markdown_table(("run", *LENGTHS), rows)


def _points(runs: Sequence[Run]) -> str:
    places = list(LENGTHS)
    rows = [
        [
            name,
            record.point.length,
            format_tokens(record.tokens),
            f"{format_accuracy(record.accuracy)} ({format_interval(record.low, record.high)})",
            format_tokens(record.point.samples),
            str(record.point.seed),
            record.point.precision + format_compiled(record.point.compile_step),
            format_tokens(record.left_out),
            format_tokens(record.batch_size),
            format_seconds(record.seconds_per_sample),
        ]
        for name, run in _named(runs)
        for record in sorted(run.records, key=lambda one: places.index(one.point.length))
    ]
    columns = (
        *("run", "length", "tokens", "accuracy (95 %)", "samples", "seed", "precision"),
        *("left out", "side by side", "a sample"),
    )
    return markdown_table(columns, rows)
