"""``rmtscale devices``: the GPUs that times and limits are predicted for."""

from __future__ import annotations

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_rows, write_table, write_text
from rmtscale.specs.devices import ALIASES, DEVICES
from rmtscale.units import format_bytes

_PEAKS = ("fp32", "tf32", "bf16", "fp16")


def command(output_format: options.Format = "table") -> None:
    """GPUs: memory, bandwidth and the vendor's dense peaks, with their source.

    Example: rmtscale devices --format json
    """
    require_format(output_format)
    rows: list[Row] = [
        {
            "name": device.name,
            "title": device.title,
            "driver_memory_bytes": device.driver_memory_bytes,
            "usable_memory_bytes": device.usable_memory_bytes,
            "bandwidth_bytes_per_second": device.bandwidth_bytes_per_second,
        }
        | {
            f"{peak}_flops_per_second": getattr(device, f"{peak}_flops_per_second")
            for peak in _PEAKS
        }
        | {"aliases": ",".join(alias for alias, name in ALIASES.items() if name == device.name)}
        | {"source": device.source, "memory_source": device.memory_source}
        for device in DEVICES.values()
    ]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_table(
        ["name", "usable", "GB/s", *_PEAKS],
        [
            [
                row["name"],
                format_bytes(row["usable_memory_bytes"]),
                f"{row['bandwidth_bytes_per_second'] / 1e9:,.0f}",
                *(_teraflops(row[f"{peak}_flops_per_second"]) for peak in _PEAKS),
            ]
            for row in rows
        ],
        text_columns=1,
    )
    write_text(
        "usable: what torch can hand out, its context included. fp32 to fp16: dense TFLOP/s by "
        "the vendor, which no kernel reaches; without any, only what fits is predicted. --format "
        "json names the source of each."
    )
    write_text(
        f"Also: {', '.join(f'{alias} is {name}' for alias, name in ALIASES.items())}; auto is the "
        "GPU at hand."
    )


def _teraflops(flops_per_second: int | None) -> str:
    return "-" if flops_per_second is None else f"{flops_per_second / 1e12:,.1f}"
