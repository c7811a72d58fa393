"""``rmtscale memory``: peak bytes of full attention and RMT, or another method, against length."""

from __future__ import annotations

from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import (
    Row,
    require_format,
    write_breakdowns,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.cli.workload import (
    chosen_adapter,
    chosen_workload,
    in_words,
    refuse_unread_settings,
)
from rmtscale.costs.breakeven import break_even_tokens
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.memory import PeakMemory, estimate_memory
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.terms import MemoryTerm
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import ATTENTION
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import (
    doubling_tokens,
    format_bytes,
    format_count,
    format_ratio,
    format_tokens,
    parse_size,
    parse_sizes,
    require_one_of,
)

_WEIGHTS = f"persistent.{MemoryTerm.WEIGHTS}"


def _settings(spec: ModelSpec, work: Workload) -> str:
    """Returns the line that says what is computed, and how."""
    parameters = format_count(count_parameters(spec).total)
    return f"{spec.name}: {parameters} parameters; {work.mode}, {in_words(work)}"


def command(
    model: options.Model,
    tokens: options.Tokens = "",
    segment_size: options.SegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    method: options.Method = "rmt",
    mode: Annotated[
        str,
        typer.Option(
            help="forward (one pass, nothing is kept), prefill (its cache is kept) or train."
        ),
    ] = "forward",
    batch_size: options.BatchSize = 1,
    precision: options.Precision = "",
    weights: options.Weights = "",
    attention: options.Attention = "sdpa",
    optimizer: options.Optimizer = "adamw",
    accumulate: options.Accumulate = 1,
    adapter: options.AdapterKind = "",
    adapter_rank: options.AdapterRank = 16,
    adapter_targets: options.AdapterTargets = ATTENTION,
    offload_optimizer: options.OffloadOptimizer = False,
    host_memory: options.HostMemory = "",
    dropout: options.Dropout = True,
    logits: options.Logits = "last",
    bptt_segments: options.BpttSegments = None,
    checkpoint_segments: options.CheckpointSegments = False,
    checkpoint_layers: options.CheckpointLayers = False,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="GPU to fit on; its library workspace is counted too.",
            autocompletion=options.complete_device,
        ),
    ] = "",
    reserve: options.Reserve = "",
    breakdown: options.Breakdown = False,
    output_format: options.Format = "table",
) -> None:
    """Peak allocated memory of full attention against RMT (or another method), by length.

    Example: rmtscale memory --model gpt2 --mode train --tokens 1k,4k,16k --breakdown
    """
    require_format(output_format)
    require_one_of("mode", mode, ("forward", "prefill", "train"))
    refuse_unread_settings(mode, adapter, offload_optimizer=offload_optimizer)
    spec = options.chosen_model(model, weights)
    if mode == "train" and not weights:
        spec = options.trained(spec)
    lengths = parse_sizes(tokens) if tokens else doubling_tokens()
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    gpu = options.chosen_device(device, reserve) if device else None
    if reserve and gpu is None:
        raise BadInput(f"reserve {reserve!r}: expected only with a device")
    precision = precision or default_precision(gpu)
    title, design = options.chosen_design(method, spec, recurrence)
    no_rmt = why_no_rmt(spec) if design is recurrence else ""
    segmented = design is recurrence and not no_rmt
    shown = {"full": "full attention"} if no_rmt else {"full": "full attention", method: title}

    def workload(length: int) -> Workload:
        return chosen_workload(
            mode,
            length,
            batch_size=batch_size,
            precision=precision,
            attention=attention,
            optimizer=optimizer,
            accumulate=accumulate,
            adapter=chosen_adapter(adapter, adapter_rank, adapter_targets),
            offload_optimizer=offload_optimizer,
            host_memory=host_memory,
            dropout=dropout,
            logits=logits,
            bptt_segments=bptt_segments,
            checkpoint_segments=checkpoint_segments,
            checkpoint_layers=checkpoint_layers,
        )

    def estimate(length: int, side: str) -> PeakMemory:
        return estimate_memory(spec, workload(length), None if side == "full" else design, gpu)

    peaks = {(length, side): estimate(length, side) for length in lengths for side in shown}
    fitting = {
        key: gpu is None or peak.total <= gpu.usable_memory_bytes for key, peak in peaks.items()
    }
    if output_format != "table":
        rows: list[Row] = []
        for (length, side), peak in peaks.items():
            rmt = side == "rmt"
            row: Row = {
                "model": spec.name,
                "method": side,
                "tokens": length,
                "segment_size": recurrence.segment_size if rmt else None,
                "memory_tokens": memory_tokens if rmt else None,
                "segments": recurrence.segments(spec, length) if rmt else None,
                "mode": mode,
                "batch_size": batch_size,
                "precision": precision,
                "attention": attention,
                "device": None if gpu is None else gpu.name,
                "optimizer": optimizer if mode == "train" else None,
                "logits": (logits if side == "full" else "last") if mode != "train" else None,
                "weight_bytes": peak.by_name()[_WEIGHTS],
                "peak_bytes": peak.total,
                "fits": None if gpu is None else fitting[length, side],
                "confirmed": peak.confirmed,
                "peak_at": peak.peak_at,
            }
            rows.append(row | ({"terms": peak.by_name()} if breakdown else {}))
        write_rows(rows, output_format)
        return
    if gpu is not None:
        where = [
            f"{name} fits {_which([one for one in lengths if fitting[one, side]], lengths)}"
            for side, name in shown.items()
        ]
        write_text(f"On {options.room(gpu)} {'; '.join(where)}.")
    write_text(_settings(spec, workload(lengths[0])))
    if spec.quantization is not None:
        stored = peaks[lengths[0], "full"].by_name()[_WEIGHTS]
        write_text(f"Weights {spec.quantization.title}: {format_bytes(stored)}")
    write_text(f"No RMT: {no_rmt}." if no_rmt else options.described(title, design, spec))
    columns = ["tokens", *shown.values(), *(["segments"] if segmented else [])]
    columns += [] if len(shown) == 1 else [f"full / {title if segmented else method}"]
    write_table(
        columns,
        [
            [
                format_tokens(length),
                *(format_bytes(peaks[length, side].total) for side in shown),
                *([format_tokens(recurrence.segments(spec, length))] if segmented else []),
                *(
                    format_ratio(peaks[length, "full"].total / peaks[length, side].total)
                    for side in shown
                    if side != "full"
                ),
            ]
            for length in lengths
        ],
    )
    if breakdown:
        for length in lengths if tokens else lengths[-1:]:
            sides = {side: peaks[length, side] for side in shown}
            places = "; ".join(f"{side}: {peak.peak_at}" for side, peak in sides.items())
            write_breakdowns(
                f"{format_tokens(length)} tokens, peak {places}", dict(sides), format_bytes
            )
    if not no_rmt:
        first = break_even_tokens(
            lambda length: estimate(length, "full").total,
            lambda length: estimate(length, method).total,
            recurrence.segment_tokens(spec) if segmented else 1,
        )
        write_text(_break_even(title, first))
    write_text(
        "Peak of allocated tensors"
        + (f" and library workspaces on {gpu.title}" if gpu and gpu.library_workspace_bytes else "")
        + "; the CUDA context and fragmentation come on top. Predicted, not measured."
    )
    if not all(peak.confirmed for peak in peaks.values()):
        of = "quantised weights" if spec.quantization else f"a {spec.kind}"
        write_text(f"Upper bound, not confirmed: no device has measured {of}.")


def _break_even(title: str, first: int | None) -> str:
    """From which length on a method needs less memory, in words."""
    if first is None:
        return f"{title} needs no less memory than full attention at any length."
    return f"{title} needs less memory from {format_tokens(first)} tokens on."


def _which(fitting: list[int], asked: list[int]) -> str:
    """Which of the lengths that were asked for fit."""
    if fitting == asked:
        return f"at {'every length' if len(asked) > 1 else format_tokens(asked[0])}"
    return f"at {', '.join(map(format_tokens, fitting))}" if fitting else "at none of these lengths"
