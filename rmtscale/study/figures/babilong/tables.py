"""BABILong's tables as Markdown: accuracies beside the published ones, and what a sample takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.study.figures.babilong.full_attention import full_attention_seconds
from rmtscale.study.figures.babilong.published import SYSTEMS, average, published
from rmtscale.study.figures.babilong.runs import (
    VARIANTS,
    Run,
    backbones,
    mean_accuracy,
    shown,
)
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


def average_table(runs: Sequence[Run]) -> str:
    """Writes averages over the five tasks: a row for each system, variant and backbone of ours."""
    rows = [[title, *_cells(average(published()[name]))] for name, title in SYSTEMS.items()]
    for variant, title in VARIANTS.items():
        rows.append([title, *_means(shown(runs, variant))])
        names = backbones(run for run in runs if run.variant == variant)
        for name in names if len(names) > 1 else ():
            rows.append([f"{title}, {name} alone", *_means(shown(runs, variant, name))])
    return markdown_table(("average, %", *LENGTHS), rows)


def _means(best: Mapping[str, Run]) -> list[str]:
    means = {length: mean_accuracy(best, length) for length in LENGTHS}
    return _cells({length: mean for length, mean in means.items() if mean is not None})


def task_table(task: str, runs: Sequence[Run]) -> str:
    """Writes the accuracies of one task, a row for each system and each run of ours."""
    rows = [[title, *_cells(published()[name].get(task, {}))] for name, title in SYSTEMS.items()]
    own = [run for run in runs if run.task == task]
    for variant, title in VARIANTS.items():
        of_variant = [run for run in own if run.variant == variant]
        rows += [[run.title, *_cells(run.shares)] for run in of_variant]
        if not of_variant:
            rows.append([f"{title}: {NO_RUN}", *[""] * len(LENGTHS)])
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
                format_count(record.tokens_per_second, 3)
                + (", compiled" if record.point.compile_step else ""),
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
