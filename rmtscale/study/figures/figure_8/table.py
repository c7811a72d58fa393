"""Table of Figure 8: what each way of reading costs and brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        "anew": {"FLOPs": frontier(anew, "flops"), "time": frontier(anew, "seconds")},
        "stream": {"FLOPs": frontier(ways, "flops"), "time": frontier(ways, "seconds")},
    }
    rows = [
        (
            Cell(_name(way)),
            Cell(format_flops(way.flops), way.flops),
            Cell(format_seconds(way.seconds) + format_compiled(way.compiled), way.seconds),
            Cell(format_bits_per_byte(way.bits_per_byte), way.bits_per_byte),
            Cell(_frontiers(way, marks)),
        )
        for way in sorted(ways, key=lambda way: (way.flops, way.bits_per_byte))
    ]
    columns = ("read with", "FLOPs", "time", "bits per byte", "frontiers")
    note = (
        "Forward FLOPs and measured time are for each token scored. A way is on a frontier if no "
        "other has as low a loss at as low a cost, in FLOPs and in time or in the one in brackets: "
        "with all text read anew, or in a stream."
    )
    if mixes_compiled(ways):
        note += f" {MIXED[0].upper()}{MIXED[1:]}."
    return Table("costs", "Cost and quality", columns, tuple(rows), note)


def _frontiers(way: Choice, marks: Mapping[str, Mapping[str, Sequence[Choice]]]) -> str:
    """Writes ``anew, stream (time)``: those of both costs, or of the one in brackets."""
    said = []
    for read, by_cost in marks.items():
        costs = [cost for cost, best in by_cost.items() if way in best]
        if costs:
            said.append(read if len(costs) == len(by_cost) else f"{read} ({', '.join(costs)})")
    return ", ".join(said) or "none"


def _name(way: Choice) -> str:
    if way.kind == KINDS[0]:
        return context_name(way.size)
    segments = f"{format_tokens(way.size)} segment{'' if way.size == 1 else 's'}"
    return f"memory, {segments}{', in a stream' if way.kind == KINDS[2] else ''}"
