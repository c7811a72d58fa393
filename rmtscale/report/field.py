"""A comparison of methods as rows, as a table and in words."""

from __future__ import annotations

from rmtscale.costs.comparison import QUANTITIES, Comparison
from rmtscale.costs.methods.method import Method
from rmtscale.tabular import markdown_table
from rmtscale.units import format_bytes, format_flops, format_ratio, format_tokens

Row = dict[str, object]


def overtaking_rows(comparison: Comparison) -> list[Row]:
    """Returns a row for any two methods: which stays below the other, and from which length."""
    rows: list[Row] = []
    for overtaking in comparison.overtakings:
        row: Row = {"model": comparison.model.name, "quantity": overtaking.quantity}
        rows.append(
            row
            | {"less": overtaking.less, "more": overtaking.more, "from_tokens": overtaking.tokens}
        )
    return rows


def reported(method: Method) -> str:
    """Returns the longest input that the method's paper reports."""
    return format_tokens(method.reported.tokens) if method.reported else "not given"


def reuse(method: Method) -> str:
    """Whether the method takes over a pretrained transformer."""
    return "yes" if method.pretrained else "no"


def facts_table(comparison: Comparison) -> str:
    """Makes a Markdown table of costs at the greatest length and of what the papers report."""
    last = comparison.tokens[-1]
    head = ["method", "source", f"FLOPs, {format_tokens(last)} tokens", "state", "FLOPs grow"]
    head += ["state grows", "longest input reported", "reuses a pretrained transformer"]
    rows = []
    for method in comparison.methods:
        growth = method.growth_on(comparison.model)
        where = method.reported.source if method.reported else method.source
        row = [
            f"`{method.name}`",
            where,
            format_flops(comparison.cost(method.name, last)),
            format_bytes(comparison.cost(method.name, last, "state_bytes")),
            growth.flops,
            growth.state,
            reported(method),
            reuse(method),
        ]
        rows.append(row)
    return markdown_table(head, rows)


def verdict(comparison: Comparison) -> str:
    """Names the cheapest methods at the greatest length, of all and of those that reuse weights."""
    last = comparison.tokens[-1]
    best, smallest = (comparison.least(quantity) for quantity in QUANTITIES)
    sentence = (
        f"At {format_tokens(last)} tokens {best} needs the fewest FLOPs "
        f"({_flops(comparison, best)}) and {smallest} keeps the smallest state "
        f"({format_bytes(comparison.cost(smallest, last, 'state_bytes'))})."
    )
    reusing = [method.name for method in comparison.methods if method.pretrained]
    if not reusing:
        return f"{sentence} None of them takes over a pretrained transformer."
    if {best, smallest} <= set(reusing):
        return f"{sentence} Both take over a pretrained transformer."
    cheap, small = (comparison.least(quantity, reusing) for quantity in QUANTITIES)
    keeps = "keeps" if small == cheap else f"{small} keeps"
    return (
        f"{sentence} Of those that take over a pretrained transformer, {cheap} needs the fewest "
        f"({_flops(comparison, cheap)}) and {keeps} the smallest state "
        f"({format_bytes(comparison.cost(small, last, 'state_bytes'))})."
    )


def _flops(comparison: Comparison, name: str) -> str:
    """FLOPs at the greatest length, and how many times fewer than full attention's."""
    last = comparison.tokens[-1]
    flops = comparison.cost(name, last)
    if name == "full" or ("full", last) not in comparison.estimates:
        return format_flops(flops)
    saved = format_ratio(comparison.cost("full", last) / flops)
    return f"{format_flops(flops)}, full / {name} {saved}"
