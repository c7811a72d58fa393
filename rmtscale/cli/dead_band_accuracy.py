"""``rmtscale dead-band --by accuracy``: right answers to training stories with several widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.cli.output import write_line, write_note, write_rows, write_table, write_text
from rmtscale.errors import BadInput
from rmtscale.study.records.widths import WIDTHS_FILE, WidthRecord, WidthStore, chosen_by_accuracy
from rmtscale.units import format_accuracy, format_tokens

if TYPE_CHECKING:
    from rmtscale.cli.dead_band_options import Asked
    from rmtscale.study.records.chosen_width import Chosen


def parse_widths(text: str) -> tuple[float, ...]:
    """Parses ``0.2,0.3``.

    Raises:
        BadInput: not a list of numbers above 0.
    """
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(0 < width < float("inf") for width in found):
        raise BadInput(
            f"widths {text!r}: expected a list of numbers above 0 such as 0.2,0.3; no dead band at "
            "all is compared with them anyway"
        )
    return found


def choose_by_accuracy(
    asked: Asked,
    segments: list[int],
    widths: tuple[float, ...],
    *,
    samples: int,
    batch_size: int,
    compile_step: bool | None,
) -> None:
    """Reads what is not in the file of records yet, and prints all widths and the chosen one."""
    from rmtscale.cli.evaluate_memory import default_background
    from rmtscale.study.evaluation.widths import WidthSettings, read_widths
    from rmtscale.study.training.device import find_device, precision_on

    loaded = asked.load()
    where = find_device(asked.device)
    settings = WidthSettings(
        segments=tuple(segments),
        widths=widths,
        samples=samples,
        batch_size=batch_size,
        background=asked.background or default_background(loaded),
        seed=asked.seed,
        precision=precision_on(where, loaded.settings.precision),
        compile_step=compile_step,
    )
    store = WidthStore(asked.out or asked.checkpoint / WIDTHS_FILE, anew=asked.anew)
    records = read_widths(loaded, settings, store, device=where, observe=say)
    _write_chosen(records, chosen_by_accuracy(records), asked)


def say(record: WidthRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done with a width."""
    again = " (in the file already)" if known else ""
    assert record.right is not None, "a reading by accuracy"
    write_note(
        f"{format_tokens(record.point.segments)} segments, dead band "
        f"{record.point.dead_band:g}: "
        f"{format_accuracy(record.right.count('1') / len(record.right))} of "
        f"{format_tokens(record.point.samples)}{again}"
    )


def _write_chosen(records: list[WidthRecord], chosen: Chosen, asked: Asked) -> None:
    lengths = sorted({record.point.segments for record in records})
    right = {(one.point.dead_band, one.point.segments): one.right or "" for one in records}
    if asked.output_format != "table":
        rows = [
            {
                "dead_band": one.width,
                "segments": count,
                "samples": len(right[one.width, count]),
                "correct": right[one.width, count].count("1"),
                "accuracy_all_lengths": one.accuracy,
                "behind_best": one.behind,
                "behind_best_standard_error": one.error,
                "accuracy_smoothed": one.smoothed,
                "chosen": one.width == chosen.width,
            }
            for one in chosen.tried
            for count in lengths
        ]
        write_rows(rows, asked.output_format)
        return
    by_width = {one.width: one for one in chosen.tried}
    own, plain = by_width[chosen.width], by_width[0.0]
    if chosen.width:
        write_text(
            f"dead band {chosen.width:g}: {format_accuracy(own.accuracy)} of training stories "
            f"right, {format_accuracy(plain.accuracy)} without one"
        )
    else:
        best = max(one.accuracy for one in chosen.tried if one.width)
        within = ", within the standard error" if best > plain.accuracy else ""
        write_text(
            f"no dead band: {format_accuracy(plain.accuracy)} of training stories right without "
            f"one, {format_accuracy(best)} with the best of these widths{within}"
        )
    shown = [
        [
            f"{one.width:g}" if one.width else "none",
            *(
                format_accuracy(right[one.width, count].count("1") / len(right[one.width, count]))
                for count in lengths
            ),
            format_accuracy(one.accuracy),
            format_accuracy(one.behind),
            format_accuracy(one.error),
            format_accuracy(one.smoothed),
        ]
        for one in chosen.tried
    ]
    write_text("Right answers by segments, to the same stories with every width:")
    columns = ["dead band", *(f"{format_tokens(count)} seg." for count in lengths), "all"]
    write_table([*columns, "behind", "+-", "smoothed"], shown, text_columns=1)
    write_line(f"use it with: {asked.evaluation(chosen.width)}")
