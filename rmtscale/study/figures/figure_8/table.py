"""Table of Figure 8: what each way of reading costs and brings."""

from __future__ import annotations

from rmtscale.report.tables import Cell, Table
from rmtscale.study.figures.figure_8.cost_quality import (
    KINDS,
    MIXED,
    Choice,
    choices,
    frontier,
    mixes_compiled,
)
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import context_name
from rmtscale.units import (
    format_bits_per_byte,
    format_compiled,
    format_flops,
    format_seconds,
    format_tokens,
)


def cost_table(size: InputSize) -> Table:
    """Tabulates what each way of reading costs and brings, cheapest first, and the frontiers."""
    ways = choices(size)
    anew = [way for way in ways if way.kind != KINDS[2]]
    marks = {
        "FLOPs": frontier(anew, "flops"),
        "time": frontier(anew, "seconds"),
        "FLOPs, stream": frontier(ways, "flops"),
        "time, stream": frontier(ways, "seconds"),
    }
    rows = [
        (
            Cell(_name(way)),
            Cell(format_flops(way.flops), way.flops),
            Cell(format_seconds(way.seconds) + format_compiled(way.compiled), way.seconds),
            Cell(format_bits_per_byte(way.bits_per_byte), way.bits_per_byte),
            Cell("; ".join(name for name, best in marks.items() if way in best) or "none"),
        )
        for way in sorted(ways, key=lambda way: (way.flops, way.bits_per_byte))
    ]
    columns = (
        "read with",
        "forward FLOPs for each token scored",
        "measured time for each token scored",
        "bits per byte",
        "frontiers it is on",
    )
    note = f"{MIXED[0].upper()}{MIXED[1:]}." if mixes_compiled(ways) else ""
    return Table("costs", "Cost and quality", columns, tuple(rows), note)


def _name(way: Choice) -> str:
    if way.kind == KINDS[0]:
        return context_name(way.size)
    segments = f"{format_tokens(way.size)} segment{'' if way.size == 1 else 's'}"
    return f"memory, {segments}{', in a stream' if way.kind == KINDS[2] else ''}"
