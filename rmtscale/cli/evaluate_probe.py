"""``rmtscale evaluate --probe``: do margins hold, and what is right by where the fact stood."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.cli.output import write_line, write_rows, write_table, write_text
from rmtscale.intervals import wilson_interval
from rmtscale.records.mapping import to_mapping
from rmtscale.study.records.probe import Held, Margins, Probe, Share
from rmtscale.units import (
    format_accuracy,
    format_change,
    format_interval,
    format_margin,
    format_percent,
    format_tokens,
)


def write_probe(probed: Probe, output_format: str) -> None:
    """Prints a probe, the answer first."""
    if output_format != "table":
        write_rows([to_mapping(replace(probed, broke_at=()))], output_format)
        return
    write_text(told(probed))
    write_text("Asked after so many segments, among those whose facts had all been read:")
    by_segments = zip(probed.after_segments, probed.margins, strict=True)
    rows = [[*_cells(share), *map(format_margin, own.quantiles)] for share, own in by_segments]
    write_table([*_columns("segments"), "lowest", "5 %", "median"], rows, text_columns=1)
    _write_memory(probed)
    write_text(f"At {format_tokens(probed.segments)} segments, by segments from fact to question:")
    write_table(_columns("segments"), [*map(_cells, probed.by_depth)], text_columns=1)
    write_text("By the fact's place in its segment:")
    write_table(_columns("place"), [*map(_cells, probed.by_place)], text_columns=1)
    lost = sorted(at for at in probed.broke_at if at is not None)
    if lost:
        write_line(
            f"{len(lost)} of {len(probed.broke_at)} answers were lost, half of them by segment "
            f"{lost[len(lost) // 2]}"
        )
    else:
        write_line(f"all {len(probed.broke_at)} answers were kept to the end")


def told(probed: Probe) -> str:
    """Returns in a sentence or two whether margins hold."""
    held = probed.held
    if held is None:
        return (
            "No sample had settled before the last question: more --segments tell whether margins "
            "hold."
        )
    if not held.samples:
        return (
            f"None of {format_tokens(held.wrong_samples)} answers was right once the memory had "
            "settled: no margin can be held."
        )
    return _of_held(held, probed.margins[-1])


def _of_held(held: Held, last: Margins) -> str:
    where, count = f"segment {format_tokens(last.segments)}", format_tokens(held.samples)
    low, _, middle = (
        f"{format_margin(then)} -> {format_margin(end)}"
        for then, end in zip(held.settled_quantiles, held.end_quantiles, strict=True)
    )
    what_they_were = f"what they were once the memory had settled: lowest {low}, median {middle}."
    low_share, high_share = wilson_interval(held.kept_samples, held.samples)
    falling = held.samples - held.kept_samples
    if not falling:
        interval = format_interval(low_share, high_share)
        return (
            f"Margins hold to {where}: all {count} (95 %: {interval}) are at least half of "
            f"{what_they_were}"
        )
    interval = format_interval(1 - high_share, 1 - low_share)
    return (
        f"Margins fall by {where}: {format_tokens(falling)} of {count} (95 %: {interval}) are "
        f"below half of {what_they_were} {_of_fallen(held.drifted_samples)}"
    )


def _of_fallen(drifted: int) -> str:
    if not drifted:
        return "Whether they drifted is not told: two segments could have moved the memory so far."
    return (
        f"{format_tokens(drifted)} of them drifted: the memory moved farther than any two "
        "segments could have moved it."
    )


def _write_memory(probed: Probe) -> None:
    write_text(
        "Memory: tokens that the segment changed by half of what tells memories apart; root mean "
        "squares of a number, of its change in the segment, and of its distance from where it had "
        "settled:"
    )
    by_segment = {str(own.segments): own for own in probed.margins}
    rows = []
    for segment, share in probed.moved_share.items():
        own = by_segment.get(segment)
        sizes = (None,) * 3 if own is None else (own.state_rms, own.change_rms, own.moved_rms)
        numbers = ["" if size is None else format_change(size) for size in sizes]
        rows.append([segment, format_percent(share), *numbers])
    write_table(["segment", "tokens changed", "number", "change", "distance"], rows)


def _columns(what: str) -> list[str]:
    return [what, "accuracy", "95 %", "samples"]


def _cells(share: Share) -> list[str]:
    return [
        share.label,
        format_accuracy(share.accuracy),
        format_interval(share.low, share.high),
        format_tokens(share.samples),
    ]
