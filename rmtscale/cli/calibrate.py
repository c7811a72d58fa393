"""``rmtscale calibrate``: measures a GPU's constants, or holds them against measured steps."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.given import refuse_unread
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
from rmtscale.locks import sole_user
from rmtscale.readers import read_text
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.specs.devices import find_device
from rmtscale.specs.links import node_link
from rmtscale.units import format_percent, format_seconds, format_tokens

if TYPE_CHECKING:
    from rmtscale.costs.time.constants import TimeConstants
    from rmtscale.costs.time.measured import Measured
    from rmtscale.specs.device import DeviceSpec
    from rmtscale.specs.spread import Spread

_PROCESSORS = {"h200": 132}
"""Multiprocessors of the GPUs whose operators are committed."""


def command(
    records: Annotated[
        list[Path] | None, typer.Argument(help="Files of measured steps to try constants on.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure the GPU at hand, and where there are several the links between them; "
            "each takes under a minute.",
        ),
    ] = False,
    links_only: Annotated[
        bool,
        typer.Option("--links-only", help="With --measure: the links, and no operators."),
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

    Constants are found from single operators and collectives alone, never from steps of a model:
    records only test them, by model and by what bounds a step. On a machine of several GPUs one
    process runs on each of those that are visible; torchrun is not needed.

    Example: rmtscale calibrate profiles/nvidia-h200/gpt2-train.jsonl --device h200
    """
    require_format(output_format)
    found: Any = None
    if out is not None:
        require_writable([out], force=force)
    elif not measure or operators is None:
        refuse_unread("with --out only, nothing is written", "force")
    if measure:
        if operators is not None:
            require_writable([operators], force=force)
        found = _measured_here(operators, calibration, links_only=links_only)
    elif links_only:
        raise BadInput("--links-only: expected with --measure")
    elif operators is not None:
        gpu = find_device(device)
        base = _base(gpu, calibration)
        found = _fitted(base, _read(operators), str(operators), _PROCESSORS.get(gpu.name))
    if found is not None:
        _write_constants(found, output_format)
        if out is not None:
            _save(found, out)
        if not records:
            return
    if not records:
        raise BadInput("nothing to do: expected files of records, --measure or --operators")
    from rmtscale.report.calibration import rows_of_errors, try_constants

    gpu = find_device(device)
    if found is None:
        found = _base(gpu, calibration)
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


def _base(gpu: DeviceSpec, calibration: Path | None) -> TimeConstants:
    """The constants of a file, or those that are known."""
    from rmtscale.costs.time.constants_file import known_constants

    return options.chosen_calibration(calibration, gpu) or known_constants(gpu)


def _fitted(
    base: TimeConstants, measured: list[Measured], source: str, processors: int | None
) -> TimeConstants:
    """Constants of what was measured; those of ``base`` where it was links alone."""
    from dataclasses import replace

    from rmtscale.costs.time.constants import USUAL_PROCESSORS
    from rmtscale.costs.time.fit import fit_constants
    from rmtscale.costs.time.link_fit import fit_links
    from rmtscale.costs.time.measured import MeasuredCollective

    links = [one for one in measured if isinstance(one, MeasuredCollective)]
    if links and len(links) == len(measured):
        named = f"{base.source}; links {source}"
        return replace(base, links=fit_links(links), source=named)
    return fit_constants(base.device, processors or USUAL_PROCESSORS, measured, source)


def _measured_here(
    operators: Path | None, calibration: Path | None, *, links_only: bool
) -> TimeConstants:
    """Measures the GPU at hand, and the links where there are several.

    Raises:
        BadInput: no GPU, one whose datasheet is not known, or links of a single one.
    """
    from rmtscale.profiler.prediction import this_machine

    machine = this_machine("cuda")
    if machine.device is None:
        raise BadInput(f"calibrate --measure: {machine.why_unknown}, expected a GPU that is known")
    import torch

    from rmtscale.costs.time.measured import to_line
    from rmtscale.profiler.links import measure_links

    gpus = torch.cuda.device_count()
    names = {torch.cuda.get_device_name(number) for number in range(gpus)}
    if links_only and gpus < 2:
        raise BadInput(f"--links-only: {gpus} GPU is visible, expected 2 or more")
    measured: list[Measured] = []
    with ExitStack() as held:
        for number in range(gpus):
            held.enter_context(sole_user("cuda", number))
        if not links_only:
            from rmtscale.profiler.operator_bench import OperatorBench

            measured += OperatorBench("cuda").run()
        if gpus > 1 and len(names) == 1:
            measured += measure_links(gpus)
    if len(names) > 1:
        write_note(f"note: no links were measured, these GPUs are not alike: {sorted(names)}")
    source = "measured here"
    if operators is not None:
        source = str(operators)
        write_whole(operators, "".join(f"{to_line(one)}\n" for one in measured))
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    return _fitted(_base(machine.device, calibration), measured, source, processors)


def _save(constants: TimeConstants, out: Path) -> None:
    from rmtscale.costs.time.constants_file import constants_text

    write_whole(out, constants_text(constants))
    write_line(f"written to {out}")


def _write_constants(constants: TimeConstants, output_format: str) -> None:
    rows = [
        {"constant": name, "value": spread.value, "low": spread.low, "high": spread.high}
        for name, spread in [*constants.spreads.items(), *_named_links(constants)]
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
    if not constants.links:
        return
    link = node_link(constants.device)
    write_line()
    write_text(f"Links inside a node, beside {link.bytes_per_second / 1e9:g} GB/s ({link.source}):")
    write_table(
        ["collective", "GPUs", "latency", "bandwidth", "of the datasheet"],
        [
            [
                one.kind.replace("_", " "),
                str(one.ranks),
                format_seconds(one.latency.value),
                f"{one.bandwidth.value / 1e9:.4g} GB/s",
                format_percent(one.bandwidth.value / link.bytes_per_second),
            ]
            for one in constants.links
        ],
        text_columns=1,
    )


def _named_links(constants: TimeConstants) -> list[tuple[str, Spread]]:
    return [
        (f"{one.kind} of {one.ranks} GPUs, {name}", spread)
        for one in constants.links
        for name, spread in (
            ("latency seconds", one.latency),
            ("bandwidth bytes per second", one.bandwidth),
        )
    ]
