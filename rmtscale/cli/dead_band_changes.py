"""``rmtscale dead-band --by changes``: what noise and facts change in the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.cli.output import Row, write_line, write_rows, write_table, write_text
from rmtscale.errors import CheckFailed
from rmtscale.study.records.widths import WidthStore
from rmtscale.units import format_change, format_percent, format_tokens

if TYPE_CHECKING:
    from rmtscale.cli.dead_band_options import Asked
    from rmtscale.study.records.widths import Changes, MemoryChanges


def choose_by_changes(asked: Asked, segments: int | None, samples: int | None) -> None:
    """Measures the changes, and prints them and the dead band that lies between them.

    Raises:
        CheckFailed: there is none.
    """
    from rmtscale.cli.evaluate_memory import default_background
    from rmtscale.study.evaluation.widths import ChangeSettings, read_changes
    from rmtscale.study.training.device import find_device

    loaded = asked.load()
    where = find_device(asked.device)
    settings = ChangeSettings(
        segments=segments,
        samples=samples,
        background=asked.background or default_background(loaded),
        seed=asked.seed,
    )
    store = None if asked.out is None else WidthStore(asked.out, anew=asked.anew)
    changes = read_changes(loaded, settings, store, device=where).changes
    assert changes is not None, "a reading by changes"
    _write_chosen(changes, asked)
    if changes.dead_band is None:
        raise CheckFailed(
            "no multiple of 0.05 lies above the 99.9th percentile in settled noise, "
            f"{format_change(changes.settled.quantiles[3])}, and below the median with a fact, "
            f"{format_change(changes.fact.quantiles[0])}: expected changes that tell them apart, "
            "or --by accuracy"
        )


def _write_chosen(changes: MemoryChanges, asked: Asked) -> None:
    kinds = {"settled noise": changes.settled, "a fact": changes.fact}
    if asked.output_format != "table":
        rows = [_plain_row(name, kind, changes.dead_band) for name, kind in kinds.items()]
        write_rows(rows, asked.output_format)
        return
    if changes.dead_band is not None:
        assert changes.fact.share_over is not None, "where there is a dead band"
        write_text(
            f"dead band {changes.dead_band:g}: a fact changes "
            f"{format_percent(changes.fact.share_over)} of the numbers of the memory by at least "
            "as much"
        )
    shown = [
        [name, *(format_change(x) for x in kind.quantiles), format_tokens(kind.numbers)]
        for name, kind in kinds.items()
    ]
    write_text("Change of a number of the memory over one segment, in training text:")
    columns = ["segment with", "50 %", "90 %", "99 %", "99.9 %", "largest", "numbers"]
    write_table(columns, shown, text_columns=1)
    if changes.dead_band is not None:
        write_line(f"use it with: {asked.evaluation(changes.dead_band)}")


def _plain_row(name: str, kind: Changes, dead_band: float | None) -> Row:
    names = ("change_50", "change_90", "change_99", "change_99_9", "change_largest")
    return {
        "segment_with": name,
        "numbers": kind.numbers,
        **dict(zip(names, kind.quantiles, strict=True)),
        "dead_band": dead_band,
        "share_over_dead_band": kind.share_over,
    }
