"""``rmtscale compare``: many ways to a long input, on one backbone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.costs.comparison import Comparison, compare_methods, select_methods
from rmtscale.costs.methods.catalog import methods_for
from rmtscale.files import require_writable, write_all
from rmtscale.report.field import reported, reuse, verdict
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import (
    doubling_tokens,
    format_bytes,
    format_flops,
    format_tokens,
    parse_size,
    parse_sizes,
)

_DEFAULT = {True: "full,rmt,sliding-window,mamba", False: "full,rmt,longformer,bigbird"}
"""Methods of a decoder and of an encoder."""
_COLUMNS = 4
"""Lengths a table of 80 columns has room for."""
_PAIRS = 15
"""Pairs that are printed; with more methods, only those with full attention or RMT are."""


def command(
    model: options.Model,
    methods: Annotated[
        str,
        typer.Option(
            help="A list such as full,rmt,mamba, or all that the backbone can have.  [default: "
            f"{_DEFAULT[True]}; of an encoder {_DEFAULT[False]}]"
        ),
    ] = "",
    tokens: options.Tokens = "",
    segment_size: options.SegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    dtype: options.Dtype = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for figure, data and a page.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    output_format: options.Format = "table",
) -> None:
    """FLOPs and state of many methods by length, and who overtakes whom.

    Example: rmtscale compare --model opt-1.3b --methods full,rmt,mamba --tokens 512..2M
    """
    require_format(output_format)
    if out is None:
        refuse_unread("with --out only, nothing is written", "force")
    spec = options.chosen_model(model)
    if not methods:
        possible = {method.name for method in methods_for(spec)}
        usual = _DEFAULT[spec.decoder].split(",")
        methods = ",".join(name for name in usual if name in possible)
    lengths = sorted(parse_sizes(tokens)) if tokens else doubling_tokens()
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    chosen = select_methods(methods, spec, recurrence)
    dtype = dtype or default_precision()
    comparison = compare_methods(spec, chosen, lengths, dtype)
    if out is not None:
        from rmtscale.study.figures.field.page import comparison_files, comparisons_page
        from rmtscale.study.figures.registry import FIGURES

        require_writable([out / "README.md"], force=force)
        words = ["rmtscale", "compare", "--model", spec.name, "--methods", methods]
        words += ["--tokens", tokens] if tokens else []
        words += ["--segment-size", segment_size, "--memory-tokens", str(memory_tokens)]
        command_line = shlex.join([*words, "--precision", dtype])
        comparisons = {"field": comparison}
        page = comparisons_page(FIGURES["field"].title, comparisons, command_line)
        write_all(out, {**comparison_files(comparisons), "README.md": page}, force=force)
    if output_format != "table":
        write_rows(comparison.rows(), output_format)
        return
    write_line(
        f"{spec.name}: {spec.layers} layers, width {spec.width}; only the sequence mixing differs"
    )
    _write_costs(comparison)
    _write_facts(comparison)
    _write_pairs(comparison)
    write_text(verdict(comparison))
    if out is not None:
        write_line(f"written to {out}")


def _write_costs(comparison: Comparison) -> None:
    lengths = _shown(comparison.tokens)
    quantities = {
        "FLOPs of a forward pass": ("flops", format_flops),
        f"State of one sequence, {comparison.dtype}": ("state_bytes", format_bytes),
    }
    for title, (quantity, show) in quantities.items():
        write_line()
        write_line(title)
        write_table(
            ["method", *(format_tokens(length) for length in lengths)],
            [
                [
                    method.name,
                    *(show(comparison.cost(method.name, length, quantity)) for length in lengths),
                ]
                for method in comparison.methods
            ],
            text_columns=1,
        )


def _shown(lengths: tuple[int, ...]) -> list[int]:
    """First, last and some between, evenly chosen."""
    if len(lengths) <= _COLUMNS:
        return list(lengths)
    last = len(lengths) - 1
    return [lengths[round(index * last / (_COLUMNS - 1))] for index in range(_COLUMNS)]


def _write_facts(comparison: Comparison) -> None:
    write_table(
        ["method", "FLOPs grow", "state grows", "pretrained", "longest reported"],
        [
            [
                method.name,
                method.growth_on(comparison.model).flops,
                method.growth_on(comparison.model).state,
                reuse(method),
                reported(method),
            ]
            for method in comparison.methods
        ],
        text_columns=4,
    )


def _write_pairs(comparison: Comparison) -> None:
    """Which of two stays below the other, in FLOPs and in state, and from where on."""
    names = [method.name for method in comparison.methods]
    pairs = [(a, b) for index, a in enumerate(names) for b in names[index + 1 :]]
    if len(pairs) > _PAIRS:
        pairs = [pair for pair in pairs if {"full", "rmt"} & set(pair)]
    rows = []
    for first, second in pairs:
        flops = comparison.overtaking("flops", first, second)
        less, more = (flops.less, flops.more) if flops else (first, second)
        state = comparison.overtaking("state_bytes", less, more)
        smaller = "equal"
        if state is not None:
            smaller = _start(state.tokens) if state.less == less else "never"
        rows.append([less, more, _start(flops.tokens) if flops else "equal", smaller])
    if rows:
        write_table(
            ["this needs less", "than this", "FLOPs from", "state from"], rows, text_columns=2
        )
        write_text(
            "From there on for good, up to 1e9 tokens; before, they may cross several times."
        )


def _start(tokens: int) -> str:
    return "always" if tokens == 1 else format_tokens(tokens)
