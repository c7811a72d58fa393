"""``rmtscale calibrate``: measures a GPU's constants, or holds them against measured steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.output import (
    require_format,
    write_line,
    write_note,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.errors import BadInput
from rmtscale.files import require_writable, write_whole
from rmtscale.limits import MOST_RECORDS_BYTES
from rmtscale.readers import read_text
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.specs.devices import find_device
from rmtscale.units import format_percent, format_tokens

if TYPE_CHECKING:
    from rmtscale.costs.time.constants import TimeConstants
    from rmtscale.costs.time.measured import Measured

_PROCESSORS = {"h200": 132}
"""Multiprocessors of the GPUs whose operators are committed."""


def command(
    records: Annotated[
        list[Path] | None, typer.Argument(help="Files of measured steps to try constants on.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the GPU at hand; takes under a minute.")
    ] = False,
    operators: Annotated[
        Path | None,
        typer.Option(help="File of single operators: written by --measure, else read."),
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="A GPU's name.")] = "h200",
    calibration: options.CalibrationFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the constants (JSON).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    output_format: options.Format = "table",
) -> None:
    """Measures what predicted times are made of, or tries it on measured steps.

    Constants are found from single operators alone, never from steps of a model: records only test
    them, by model and by what bounds a step.

    Example: rmtscale calibrate profiles/nvidia-h200/gpt2-train.jsonl --device h200
    """
    require_format(output_format)
    found: Any = None
    if out is not None:
        require_writable([out], force=force)
    if measure:
        if operators is not None:
            require_writable([operators], force=force)
        found = _measured_here(operators)
    elif operators is not None:
        found = _fitted(device, _read(operators), str(operators))
    if found is not None:
        _write_constants(found, output_format)
        if out is not None:
            _save(found, out)
        if not records:
            return
    if not records:
        raise BadInput("nothing to do: expected files of records, --measure or --operators")
    from rmtscale.costs.time.constants_file import known_constants
    from rmtscale.report.calibration import read_calibration, rows_of_errors, try_constants

    gpu = find_device(device)
    if found is None:
        found = known_constants(gpu) if calibration is None else read_calibration(calibration, gpu)
    tried = try_constants(found, _records(records))
    rows = rows_of_errors(tried)
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_line(f"constants of {gpu.title}: {found.source}")
    write_table(
        ["model", "bound by", "steps", "median", "p90", "worst", "in range"],
        [
            [
                row["model"] or "all",
                row["bound"] or "any",
                format_tokens(row["points"]),
                *(format_percent(row[f"{name}_error"]) for name in ("median", "p90", "worst")),
                format_percent(row["share_in_interval"]),
            ]
            for row in rows
        ],
        text_columns=2,
    )
    write_text(
        "|predicted / measured - 1|. No constant was found from any of these steps. Where a record "
        "has the host's speed, the host is taken to be as fast as it was then; the range is the "
        "one that is printed without knowing it."
    )


def _records(paths: list[Path]) -> list[Record]:
    found: list[Record] = []
    for path in paths:
        if not path.exists():
            raise BadInput(f"records {str(path)!r}: no such file")
        reading = RecordStore(path).read()
        for warning in reading.warnings():
            write_note(f"warning: {path}: {warning}")
        found += reading.records
    return found


def _read(path: Path) -> list[Measured]:
    from rmtscale.costs.time.measured import from_line

    text = read_text(path, f"operators {str(path)!r}", MOST_RECORDS_BYTES)
    return [from_line(line) for line in text.splitlines()]


def _fitted(
    device: str, measured: list[Measured], source: str, processors: int | None = None
) -> TimeConstants:
    from rmtscale.costs.time.constants import USUAL_PROCESSORS
    from rmtscale.costs.time.fit import fit_constants

    count = processors or _PROCESSORS.get(device, USUAL_PROCESSORS)
    return fit_constants(find_device(device), count, measured, source)


def _measured_here(operators: Path | None) -> TimeConstants:
    """Measures the GPU at hand.

    Raises:
        BadInput: no GPU, or one whose datasheet is not known.
    """
    from rmtscale.profiler.prediction import this_machine

    machine = this_machine("cuda")
    if machine.device is None:
        raise BadInput(f"calibrate --measure: {machine.why_unknown}, expected a GPU that is known")
    import torch

    from rmtscale.costs.time.measured import to_line
    from rmtscale.profiler.operator_bench import OperatorBench

    measured = list(OperatorBench("cuda").run())
    source = "measured here"
    if operators is not None:
        source = str(operators)
        write_whole(operators, "".join(f"{to_line(one)}\n" for one in measured))
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    return _fitted(machine.device.name, measured, source, processors)


def _save(constants: TimeConstants, out: Path) -> None:
    from rmtscale.costs.time.constants_file import constants_text

    write_whole(out, constants_text(constants))
    write_line(f"written to {out}")


def _write_constants(constants: TimeConstants, output_format: str) -> None:
    rows = [
        {"constant": name, "value": spread.value, "low": spread.low, "high": spread.high}
        for name, spread in constants.spreads.items()
    ]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_line(f"{constants.device.title}, by {constants.source}")
    write_table(
        ["constant", "value", "low", "high"],
        [
            [str(row["constant"]), *(f"{row[name]:.4g}" for name in ("value", "low", "high"))]
            for row in rows
        ],
        text_columns=1,
    )
