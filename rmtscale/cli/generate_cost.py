"""``rmtscale generate-cost``: what writing text takes, with full attention and with an RMT."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_table, write_text
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.generation import LARGEST_BATCH, GenerationCost, estimate_generation
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.generation_time import GenerationTime, faster, generation_time
from rmtscale.costs.time_range import SLOW_SHARE, TimeRange
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_percent,
    format_ratio,
    format_seconds,
    format_seconds_range,
    format_tokens,
    parse_size,
)

Costs = dict[str, GenerationCost]
Times = dict[str, GenerationTime]


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
    times = {
        method: generation_time(
            spec, generation, gpu, cost, recurrence if method == "rmt" else None
        )
        for method, cost in costs.items()
    }
    if output_format != "table":
        head: Row = {"model": spec.name, "device": gpu.name}
        rows = []
        for method, cost in costs.items():
            segment: Row = {"segment_size": None, "memory_tokens": None}
            if method == "rmt":
                segment = asdict(recurrence)
            row = head | {"method": method} | segment | asdict(generation) | asdict(cost)
            rows.append(row | _time_row(times[method], generation))
        write_rows(rows, output_format)
        return
    titles = {"full": "Full attention", "rmt": "RMT"}
    fits = "; ".join(_fits(titles[name], cost, gpu) for name, cost in costs.items())
    write_text(" ".join([f"{fits}.", *_who_is_faster(times, generation)]))
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
    _write_costs(costs, times)
    _write_words(costs, times, gpu, generation)


def _time_row(time: GenerationTime, generation: Generation) -> Row:
    """Times as plain numbers, beside the rooflines in the phases."""
    per_second = time.tokens_per_second(generation) or (None, None)
    return {
        "prefill_least_seconds": time.prefill.least_seconds,
        "prefill_most_seconds": time.prefill.most_seconds,
        "decode_least_seconds": time.decode.least_seconds,
        "decode_most_seconds": time.decode.most_seconds,
        "least_tokens_per_second": per_second[0],
        "most_tokens_per_second": per_second[1],
    }


def _write_costs(costs: Costs, times: Times) -> None:
    rows = []
    for phase in ("prefill", "decode"):
        sides = [getattr(cost, phase) for cost in costs.values()]
        for name, field, show in (
            ("FLOPs", "flops", format_flops),
            ("bytes moved", "moved_bytes", format_bytes),
            ("arithmetic alone", "arithmetic_seconds", format_seconds),
            ("bandwidth alone", "bandwidth_seconds", format_seconds),
        ):
            values = [getattr(side, field) for side in sides]
            # Two lower bounds have no ratio that says anything.
            ratio = [""] * (len(values) - 1) if show is format_seconds else _ratio(values)
            rows.append([phase, name, *map(show, values), *ratio])
        ranges = [getattr(time, phase) for time in times.values()]
        shown = [format_seconds_range(*each) if each.most_seconds else "" for each in ranges]
        rows.append([phase, "time", *shown, *_time_ratio(ranges)])
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


def _time_ratio(ranges: list[TimeRange]) -> list[str]:
    """Between which numbers full attention's time by RMT's lies, where there are both."""
    if len(ranges) == 1:
        return []
    full, rmt = ranges
    if not full.most_seconds or not rmt.most_seconds:
        return [""]
    low, high = full.least_seconds / rmt.most_seconds, full.most_seconds / rmt.least_seconds
    return [f"x{_short(low)} to {_short(high)}"]


def _write_words(costs: Costs, times: Times, gpu: DeviceSpec, generation: Generation) -> None:
    titles = {"full": "full attention", "rmt": "RMT"}
    pace = [
        (f"{titles[name]} " if len(times) > 1 else "") + " to ".join(map(_short, per_second))
        for name, time in times.items()
        if (per_second := time.tokens_per_second(generation)) is not None
    ]
    if pace:
        write_text(f"Decoding, tokens per second of all sequences together: {', '.join(pace)}.")
    fits = [f"{titles[name]} fits {_batch(cost)}" for name, cost in costs.items()]
    write_text(f"On {gpu.name} {', '.join(fits)}.")
    ends = (
        f"Predicted. A time is at least a roofline, which nothing beats, and at most "
        f"{format_percent(SLOW_SHARE)} of the vendor's peaks and a slow host; of a prompt whose "
        "kernels are known, what their spread leaves."
    )
    if len(times) > 1:
        ends += (
            " RMT reads its segments one after another and sees all but the last through its "
            "memory only."
        )
    write_text(ends)


def _who_is_faster(times: Times, generation: Generation) -> list[str]:
    """Says for both phases which way is faster, or that it is not known; nothing of one way."""
    if len(times) == 1:
        return []
    by_answer: dict[str | None, list[str]] = {}
    for phase in ("prefill", "decode") if generation.new_tokens > 1 else ("prefill",):
        answer = faster(getattr(times["full"], phase), getattr(times["rmt"], phase))
        by_answer.setdefault(answer, []).append(phase)
    words = {
        "full": "Full attention is the faster one in {}.",
        "rmt": "RMT is the faster one in {}.",
        None: "Which one is faster in {} is not known: their ranges overlap.",
    }
    return [
        text.format(" and ".join(by_answer[answer]))
        for answer, text in words.items()
        if answer in by_answer
    ]


def _short(value: float) -> str:
    """Formats an end of a range in two digits, more where it is 100 or above."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


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
