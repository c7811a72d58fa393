"""``rmtscale calibrate``: what a machine makes of the roofline, fitted from its records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.errors import BadInput
from rmtscale.files import require_writable, write_whole
from rmtscale.records.mapping import to_mapping
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.report.calibration import Calibrated, calibrate, calibration_text
from rmtscale.units import format_percent, format_seconds, format_tokens


def command(
    records: Annotated[list[Path], typer.Argument(help="Files of records of one machine.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the calibration (JSON).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    output_format: options.Format = "table",
) -> None:
    """Fits operator cost and efficiencies to half of the measured points and tries the other half.

    Example: rmtscale calibrate profiles/nvidia-h200/gpt2-train.jsonl --out build/h200.json
    """
    require_format(output_format)
    if out is not None:
        require_writable([out], force=force)
    measured: list[Record] = []
    for path in records:
        if not path.exists():
            raise BadInput(f"records {str(path)!r}: no such file")
        reading = RecordStore(path).read()
        for warning in reading.warnings():
            sys.stderr.write(f"warning: {path}: {warning}\n")
        measured += reading.records
    calibrated = calibrate(measured)
    if out is not None:
        write_whole(out, calibration_text(calibrated))
    if output_format != "table":
        write_rows([to_mapping(calibrated)], output_format)
        return
    _write(calibrated)
    if out is not None:
        write_line(f"written to {out}")


def _write(calibrated: Calibrated) -> None:
    fitted = calibrated.calibration
    write_line(f"{calibrated.gpu} (peaks of {fitted.device})")
    rows = [
        ["one operator, started by the host", format_seconds(fitted.operator_seconds)],
        ["one operator of a captured graph", format_seconds(fitted.captured_operator_seconds)],
    ]
    for dtype, share in fitted.matmul_efficiency.items():
        rows.append([f"matmuls in {dtype}, share of the peak", format_percent(share)])
    for dtype, share in fitted.attention_efficiency.items():
        rows.append([f"fused attention in {dtype}, share of the peak", format_percent(share)])
    rows.append(["other traffic, times what is kept", f"{fitted.traffic_factor:.2f}"])
    write_table(["", "fitted"], rows, text_columns=1)
    write_text(
        f"Median error of the predicted time: {format_percent(calibrated.fitted_error)} of the "
        f"{format_tokens(calibrated.fitted_points)} points it was fitted to (worst: "
        f"{format_percent(calibrated.fitted_worst)}), "
        f"{format_percent(calibrated.held_out_error)} of the "
        f"{format_tokens(calibrated.held_out_points)} it has not seen (worst: "
        f"{format_percent(calibrated.held_out_worst)})."
    )
