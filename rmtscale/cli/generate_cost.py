"""``rmtscale generate-cost``: what writing text takes, with full attention and with an RMT."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_table, write_text
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.generation import (
    LARGEST_BATCH,
    Generation,
    GenerationCost,
    estimate_generation,
)
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_ratio,
    format_seconds,
    format_tokens,
    parse_size,
)

Costs = dict[str, GenerationCost]


def command(
    model: options.Model,
    device: options.Device,
    context: Annotated[str, typer.Option(help="Tokens of the prompt: 512, 128k, 32Ki.")] = "128k",
    new_tokens: Annotated[str, typer.Option(help="Tokens to write.")] = "1k",
    segment_size: options.SegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    batch_size: options.BatchSize = 1,
    dtype: options.Dtype = "",
    weights: options.Weights = "",
    kv_dtype: Annotated[
        str,
        typer.Option(help="Of the cache: fp32, bf16, fp16, fp8 or int8. (default: --precision)"),
    ] = "",
    prefill_chunk: Annotated[
        str, typer.Option(help="Full attention reads the prompt in pieces. (default: in one)")
    ] = "",
    reserve: options.Reserve = "",
    output_format: options.Format = "table",
) -> None:
    """Prefill and decode: FLOPs, bytes moved, cache or state, time, and the batch that fits.

    Example: rmtscale generate-cost -m llama-3-8b -d h100-sxm --context 128k --batch-size 8
    """
    require_format(output_format)
    spec, gpu = options.chosen_model(model, weights), options.chosen_device(device, reserve)
    dtype = dtype or default_precision(gpu)
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    generation = Generation(
        context_tokens=parse_size(context, "context"),
        new_tokens=parse_size(new_tokens, "new tokens"),
        batch_size=batch_size,
        dtype=dtype,
        kv_dtype=kv_dtype or None,
        prefill_chunk=parse_size(prefill_chunk, "prefill chunk") if prefill_chunk else None,
    )
    costs = {"full": estimate_generation(spec, generation, gpu)}
    no_rmt = why_no_rmt(spec)
    if not no_rmt:
        costs["rmt"] = estimate_generation(spec, generation, gpu, recurrence)
    if output_format != "table":
        head: Row = {"model": spec.name, "device": gpu.name}
        rows = []
        for method, cost in costs.items():
            segment: Row = {"segment_size": None, "memory_tokens": None}
            if method == "rmt":
                segment = asdict(recurrence)
            rows.append(head | {"method": method} | segment | asdict(generation) | asdict(cost))
        write_rows(rows, output_format)
        return
    titles = {"full": "Full attention", "rmt": "RMT"}
    write_text(f"{'; '.join(_fits(titles[name], cost, gpu) for name, cost in costs.items())}.")
    write_line(f"{spec.name} on {options.room(gpu)}")
    cache = f", cache {kv_dtype}" if kv_dtype else ""
    write_line(
        f"{format_tokens(generation.context_tokens)} tokens read and "
        f"{format_tokens(generation.new_tokens)} written by each of {batch_size}; {dtype}{cache}"
    )
    if spec.quantization is not None:
        write_text(f"Weights {spec.quantization.title}")
    if no_rmt:
        write_text(f"The encoder reads once, and the decoder writes behind it. No RMT: {no_rmt}.")
    else:
        write_text(options.described("RMT", recurrence, spec))
    _write_costs(costs)
    _write_words(costs, gpu, generation)


def _write_costs(costs: Costs) -> None:
    rows = []
    for phase in ("prefill", "decode"):
        sides = [getattr(cost, phase) for cost in costs.values()]
        for name, field, show in (
            ("FLOPs", "flops", format_flops),
            ("bytes moved", "moved_bytes", format_bytes),
            ("time, arithmetic alone", "arithmetic_seconds", format_seconds),
            ("time, bandwidth alone", "bandwidth_seconds", format_seconds),
            ("time, slower of both", "seconds", format_seconds),
        ):
            values = [getattr(side, field) for side in sides]
            rows.append([phase, name, *map(show, values), *_ratio(values)])
    held = {
        "weights": "weight_bytes",
        "keys and values": "cache_bytes",
        "memory": "state_bytes",
        "peak": "peak_bytes",
    }
    for name, field in held.items():
        values = [getattr(cost, field) for cost in costs.values()]
        rows.append(["held", name, *(format_bytes(value) for value in values), *_ratio(values)])
    titles = ["", "", "full attention", "RMT", "full / RMT"]
    write_table(titles[: len(rows[0])], rows, text_columns=2)


def _ratio(values: list[float]) -> list[str]:
    """Full attention's by RMT's, where there are both."""
    if len(values) == 1:
        return []
    full, rmt = values
    return [format_ratio(full / rmt) if full and rmt else ""]


def _write_words(costs: Costs, gpu: DeviceSpec, generation: Generation) -> None:
    if len(costs) == 1:
        (full,) = costs.values()
        write_text(
            f"Decoding: {full.tokens_per_second:,.0f} tokens per second, all sequences together. "
            f"On {gpu.name} fit {_batch(full)}; here {_fits('it', full, gpu)}. Predicted: a "
            "roofline without the host."
        )
        return
    full, rmt = costs.values()
    if generation.new_tokens > 1:
        write_text(
            f"Decoding: full attention {full.tokens_per_second:,.0f} tokens per second, RMT "
            f"{rmt.tokens_per_second:,.0f}, all sequences together."
        )
    write_text(f"On {gpu.name} full attention fits {_batch(full)}, RMT {_batch(rmt)}.")
    if full.decode.seconds < rmt.decode.seconds or full.prefill.seconds < rmt.prefill.seconds:
        faster = [
            phase
            for phase in ("prefill", "decode")
            if getattr(full, phase).seconds < getattr(rmt, phase).seconds
        ]
        write_text(f"Full attention is the faster one in {' and '.join(faster)}.")
    write_text(
        "Predicted: a roofline without the host, which is what a step of one token mostly "
        "consists of on a small model. RMT reads its segments one after another and sees all but "
        "the last through its memory only."
    )


def _batch(cost: GenerationCost) -> str:
    if cost.largest_batch is None:
        return "not even one sequence"
    if cost.largest_batch >= LARGEST_BATCH:
        return f"over {format_tokens(LARGEST_BATCH)} sequences"
    return f"{format_tokens(cost.largest_batch)} sequence{'s' * (cost.largest_batch != 1)} at once"


def _fits(title: str, cost: GenerationCost, gpu: DeviceSpec) -> str:
    verb = "fits" if cost.peak_bytes <= gpu.usable_memory_bytes else "does not fit"
    return (
        f"{title} {verb}: {format_bytes(cost.peak_bytes)} of "
        f"{format_bytes(gpu.usable_memory_bytes)}"
    )
