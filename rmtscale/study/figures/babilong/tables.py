"""BABILong's tables as Markdown: accuracies beside the published ones, and what a sample takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.study.figures.babilong.claims import missing
from rmtscale.study.figures.babilong.full_attention import full_attention_seconds
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.runs import Run
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import LENGTHS
from rmtscale.tabular import markdown_table
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_count,
    format_interval,
    format_seconds,
    format_tokens,
)

NO_RUN = "no run yet"


def average_table(best: Mapping[str, Run]) -> str:
    """Writes averages over the five tasks, a row for each system."""
    rows = [[title, *_cells(average(published()[name]))] for name, title in SYSTEMS.items()]
    cells = []
    for length in LENGTHS:
        if missing(best, length):
            cells.append("")
        else:
            mean = sum(best[task].curve[length].accuracy for task in QAS) / len(QAS)
            cells.append(f"{100 * mean:.1f}")
    rows.append(["RMT, ours", *cells])
    return markdown_table(("average, %", *LENGTHS), rows)


def task_table(task: str, runs: Sequence[Run]) -> str:
    """Writes the accuracies of one task, a row for each system and each run of ours."""
    rows = [[title, *_cells(published()[name].get(task, {}))] for name, title in SYSTEMS.items()]
    own = [run for run in runs if run.task == task]
    rows += [[run.title, *_cells(run.shares)] for run in own]
    if not own:
        rows.append([f"RMT, ours: {NO_RUN}", *[""] * len(LENGTHS)])
    return markdown_table((f"{task}, %", *LENGTHS), rows)


def details_table(runs: Sequence[Run]) -> str:
    """Writes a row for each point: accuracy with its interval, samples, and what was left out."""
    rows = [
        [
            record.point.stories,
            length,
            format_tokens(record.tokens),
            f"{format_accuracy(record.accuracy)} ({format_interval(record.low, record.high)})",
            format_tokens(record.point.samples),
            format_tokens(record.left_out),
            run.title,
        ]
        for run in runs
        for length, record in run.curve.items()
    ]
    columns = ("task", "length", "tokens", "accuracy (95 %)", "samples", "left out", "model")
    return markdown_table(columns, rows)


def cost_table(best: Mapping[str, Run]) -> str:
    """Writes what a sample of each length takes, of the first task that has one."""
    rows = []
    for length in LENGTHS:
        records = [run.curve[length] for run in best.values() if length in run.curve]
        if not records:
            continue
        record = records[0]
        full = full_attention_seconds(record)
        peak = record.memory.peak_bytes
        rows.append(
            [
                length,
                format_tokens(record.tokens),
                format_count(record.tokens_per_second, 3),
                "" if peak is None else format_bytes(peak),
                format_tokens(record.batch_size),
                format_seconds(record.seconds_per_sample),
                "" if full is None else format_seconds(full),
            ]
        )
    columns = (
        *("length", "tokens", "tokens/s", "peak memory", "read together", "a sample"),
        "full attention, at least",
    )
    return markdown_table(columns, rows)


def _cells(shares: Mapping[str, float]) -> list[str]:
    return [f"{100 * shares[length]:.1f}" if length in shares else "" for length in LENGTHS]
