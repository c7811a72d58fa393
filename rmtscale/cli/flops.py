"""``rmtscale flops``: FLOPs of full attention and RMT, or another method, against length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from rmtscale.cli import layouts, options
from rmtscale.cli.given import refuse_all_but
from rmtscale.cli.output import (
    Row,
    require_format,
    write_breakdowns,
    write_line,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.cli.workload import chosen_adapter, refuse_unread_settings
from rmtscale.costs.breakdown import Breakdown
from rmtscale.costs.breakeven import break_even_tokens
from rmtscale.costs.conventions import CONVENTIONS, DEFAULT_CONVENTION, SOURCES
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import count_parameters
from rmtscale.errors import BadInput
from rmtscale.limits import MOST_GPUS
from rmtscale.specs.adapter import ATTENTION
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import (
    doubling_tokens,
    format_count,
    format_flops,
    format_ratio,
    format_tokens,
    parse_size,
    parse_sizes,
    require_one_of,
    require_positive,
)

Estimates = dict[tuple[str, int, str], Breakdown]  # (convention, tokens, method)


def command(
    model: options.Model,
    tokens: options.Tokens = "",
    segment_size: options.SegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    method: options.Method = "rmt",
    convention: Annotated[
        str,
        typer.Option(
            help="hoffmann, matmul, kaplan, paper, a list of them, or all.  [default: hoffmann; "
            "matmul for methods other than rmt and with adapters]"
        ),
    ] = "",
    mode: options.Mode = "forward",
    batch_size: options.BatchSize = 1,
    accumulate: options.Accumulate = 1,
    adapter: options.AdapterKind = "",
    adapter_rank: options.AdapterRank = 16,
    adapter_targets: options.AdapterTargets = ATTENTION,
    checkpoint_segments: options.CheckpointSegments = False,
    checkpoint_layers: options.CheckpointLayers = False,
    bptt_segments: options.BpttSegments = None,
    gpus: layouts.Gpus = None,
    breakdown: options.Breakdown = False,
    output_format: options.Format = "table",
) -> None:
    """FLOPs of full attention against RMT (or another method), and their ratio, by length.

    Example: rmtscale flops --model opt-175b --tokens 512,32k,2M --convention all
    """
    require_format(output_format)
    refuse_unread_settings(mode, adapter)
    if gpus is not None:
        require_positive("gpus", gpus, MOST_GPUS)
    lengths = parse_sizes(tokens) if tokens else doubling_tokens()
    try:
        spec = options.chosen_model(model)
    except BadInput as refused:
        read = {"mode": mode == "forward", "convention": convention == "matmul"}
        read |= {"batch_size": batch_size == 1}
        _write_counted(
            model,
            refused,
            lengths[:1] if not tokens else lengths,
            output_format,
            [name for name, same in read.items() if same],
        )
        return
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    title, design = options.chosen_design(method, spec, recurrence)
    no_rmt = why_no_rmt(spec) if design is recurrence else ""
    segmented = design is recurrence and not no_rmt
    sides = ("full",) if no_rmt else ("full", method)
    default = DEFAULT_CONVENTION if method == "rmt" and not adapter else "matmul"
    conventions = _parse_conventions(convention or default)

    def workload(length: int) -> Workload:
        return Workload(
            tokens=length,
            batch_size=batch_size,
            mode=mode,  # type: ignore[arg-type]
            accumulate=accumulate,
            adapter=chosen_adapter(adapter, adapter_rank, adapter_targets),
            bptt_segments=bptt_segments,
            checkpoint_segments=checkpoint_segments,
            checkpoint_layers=checkpoint_layers,
        )

    def estimate(length: int, side: str, name: str) -> Breakdown:
        return estimate_flops(spec, workload(length), None if side == "full" else design, name)

    estimates = {
        (name, length, side): estimate(length, side, name)
        for name in conventions
        for length in lengths
        for side in sides
    }
    if output_format != "table":
        rows = _rows(spec, recurrence, workload(1), estimates, breakdown)
        if gpus is not None:
            rows = [row | {"gpus": gpus, "flops_per_gpu": -(-row["flops"] // gpus)} for row in rows]
        write_rows(rows, output_format)
        return
    description = f"No RMT: {no_rmt}." if no_rmt else options.described(title, design, spec)
    _write_header(spec, description, workload(1), conventions)
    _write_estimates(spec, recurrence if segmented else None, title, estimates, gpus)
    if breakdown:
        for length in lengths if tokens else lengths[-1:]:
            for name in conventions:
                parts = {side: estimates[name, length, side] for side in sides}
                write_breakdowns(f"{format_tokens(length)} tokens, {name}", parts, format_flops)
    last = lengths[-1]
    others = [name for name in CONVENTIONS if name not in conventions]
    terms = estimates[conventions[0], last, sides[-1]].terms
    if design is not recurrence and any(term.operator is None for term in terms):
        write_text("FFTs and scans, which no FLOP counter sees, are included.")
    if others and segmented and not adapter:
        totals = ", ".join(
            f"{name} {_ratio(estimate(last, 'full', name), estimate(last, 'rmt', name))}"
            for name in others
        )
        write_text(f"At {format_tokens(last)} tokens the other conventions say: {totals}.")
    if not no_rmt:
        first = break_even_tokens(
            lambda length: estimate(length, "full", conventions[0]).total,
            lambda length: estimate(length, method, conventions[0]).total,
            recurrence.segment_tokens(spec) if segmented else None,
        )
        write_text(_break_even(title, first))
    if spec.positions is not None and last > spec.positions:
        write_text(
            f"Beyond {format_tokens(spec.positions)} tokens {spec.name} has no positions for full "
            "attention: the figure is what it would cost with a longer table."
        )


def _break_even(title: str, first: int | None) -> str:
    """From which length on a method needs fewer FLOPs, in words."""
    if first is None:
        return f"{title} needs no fewer FLOPs than full attention at any length."
    if first == 1:
        return f"{title} needs fewer FLOPs at any length."
    return (
        f"{title} needs fewer FLOPs from {format_tokens(first)} tokens on; below, full "
        "attention does."
    )


def _write_counted(
    model: str,
    refused: BadInput,
    lengths: list[int],
    output_format: str,
    answered: Sequence[str],
) -> None:
    """A type without a row: its real module is counted, forward, at each length.

    Args:
        answered: options that ask for what is counted.
    """
    from rmtscale.specs.reading import NoRow

    if not isinstance(refused, NoRow):
        raise refused
    of_one = "none of this: the real module is counted in one forward pass of one sequence"
    refuse_all_but(of_one, "model", "tokens", "output_format", *answered)
    counted = options.counted_model(model, refused)
    rows: list[Row] = [
        {
            "model": counted.name,
            "method": "full",
            "tokens": length,
            "mode": "forward",
            "convention": "matmul",
            "batch_size": 1,
            "flops": counted.flops(length),
            "counted": counted.row()["counted"],
        }
        for length in lengths
    ]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_text(f"{counted.name}: {format_count(counted.parameters)} parameters")
    write_text(f"{counted.class_name}: {rows[0]['counted']}")
    cells = [[format_tokens(row["tokens"]), format_flops(row["flops"])] for row in rows]
    write_table(["tokens", "full attention"], cells)


def _parse_conventions(text: str) -> list[str]:
    if text == "all":
        return list(CONVENTIONS)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names or [text]:
        require_one_of("convention", name, (*CONVENTIONS, "all"))
    return names


def _ratio(full: Breakdown, rmt: Breakdown) -> str:
    return format_ratio(full.total / rmt.total)


def _rows(
    spec: ModelSpec,
    recurrence: Recurrence,
    workload: Workload,
    estimates: Estimates,
    with_terms: bool,
) -> list[Row]:
    rows: list[Row] = []
    for (convention, tokens, method), estimate in estimates.items():
        rmt = method == "rmt"
        rows.append(
            {
                "model": spec.name,
                "method": method,
                "tokens": tokens,
                "segment_size": recurrence.segment_size if rmt else None,
                "memory_tokens": recurrence.memory_tokens if rmt else None,
                "segments": _segments(spec, recurrence, tokens, convention) if rmt else None,
                "mode": workload.mode,
                "convention": convention,
                "batch_size": workload.batch_size,
                "flops": estimate.total,
            }
            | ({"terms": estimate.by_name()} if with_terms else {})
        )
    return rows


def _segments(spec: ModelSpec, recurrence: Recurrence, tokens: int, convention: str) -> int:
    """Segments that were counted: ``paper`` gives the whole segment to the text."""
    if convention == "paper":
        return -(-tokens // recurrence.segment_size)
    return recurrence.segments(spec, tokens)


def _write_header(
    spec: ModelSpec, description: str, workload: Workload, conventions: list[str]
) -> None:
    parameters = format_count(count_parameters(spec).total)
    write_text(
        f"{spec.name}: {parameters} parameters, {spec.layers} layers, width {spec.width}; "
        f"{workload.mode}, batch size {workload.batch_size}"
        + (f", {workload.accumulate} micro-batches" if workload.accumulate > 1 else "")
        + (f", {workload.adapter.title()}" if workload.adapter else "")
    )
    write_text(description)
    for name in conventions:
        write_text(f"Convention {name}: {SOURCES[name]}")


def _write_alone(estimates: Estimates, gpus: int | None) -> None:
    """Full attention by convention, where there is nothing to compare it with."""
    conventions = list(dict.fromkeys(name for name, _, _ in estimates))
    lengths = list(dict.fromkeys(tokens for _, tokens, _ in estimates))
    rows = [
        [
            format_tokens(tokens),
            *(
                format_flops(estimates[name, tokens, "full"].total / each)
                for name in conventions
                for each in ((1, gpus) if gpus else (1,))
            ),
        ]
        for tokens in lengths
    ]
    named = ["full attention"] if len(conventions) == 1 else conventions
    columns = [
        column for name in named for column in ((name, f"{name}, a GPU") if gpus else (name,))
    ]
    write_table(["tokens", *columns], rows)


def _write_estimates(
    spec: ModelSpec,
    recurrence: Recurrence | None,
    title: str,
    estimates: Estimates,
    gpus: int | None,
) -> None:
    other = next(side for _, _, side in reversed(estimates))
    if other == "full":
        _write_alone(estimates, gpus)
        return
    conventions = list(dict.fromkeys(name for name, _, _ in estimates))
    lengths = list(dict.fromkeys(tokens for _, tokens, _ in estimates))
    if len(conventions) > 1:
        write_line(f"FLOPs of full attention / FLOPs of {title}, by convention")
        columns = ["tokens", *conventions]
        rows = [
            [
                format_tokens(tokens),
                *(
                    _ratio(estimates[name, tokens, "full"], estimates[name, tokens, other])
                    for name in conventions
                ),
            ]
            for tokens in lengths
        ]
        write_table(columns, rows)
        return
    name = conventions[0]
    rows = []
    for tokens in lengths:
        full, rmt = estimates[name, tokens, "full"], estimates[name, tokens, other]
        segments = [format_tokens(_segments(spec, recurrence, tokens, name))] if recurrence else []
        rows.append(
            [
                format_tokens(tokens),
                format_flops(full.total),
                format_flops(rmt.total),
                *(format_flops(one.total / gpus) for one in (full, rmt) if gpus),
                *segments,
                _ratio(full, rmt),
            ]
        )
    columns = ["tokens", "full attention", title]
    columns += ["full a GPU", f"{title} a GPU"] if gpus else []
    columns += ["segments"] if recurrence else []
    write_table([*columns, f"full / {other if recurrence is None else title}"], rows)
