"""``rmtscale estimate``: one model, one device, one length; the verdict first."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from rmtscale.cli import layouts, options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.cli.workload import (
    chosen_adapter,
    chosen_workload,
    in_words,
    refuse_unread_settings,
    why_eager,
)
from rmtscale.costs.advice import advice_words
from rmtscale.costs.estimate import Estimate, Way, answer, attends, predicts_kernels
from rmtscale.costs.question import Question
from rmtscale.costs.segment_choice import AUTO
from rmtscale.costs.time_range import SLOW_SHARE
from rmtscale.specs.adapter import ATTENTION
from rmtscale.specs.defaults import default_precision
from rmtscale.units import (
    format_bytes,
    format_percent,
    format_tokens,
    parse_size,
)

_BAR = 12
"""Characters of the longest bar."""


def command(
    model: options.Model,
    device: options.Device,
    tokens: Annotated[str, typer.Option(help="Text tokens of the input: 512, 128k, 32Ki.")],
    mode: Annotated[
        str,
        typer.Option(help="train, prefill (reading, its cache kept) or generate (writing too)."),
    ] = "prefill",
    new_tokens: Annotated[str, typer.Option(help="generate: tokens to write.")] = "1k",
    segment_size: options.ChosenSegmentSize = AUTO,
    memory_tokens: options.MemoryTokens = 10,
    batch_size: options.BatchSize = 1,
    precision: options.Precision = "",
    attention: options.Attention = "sdpa",
    optimizer: options.Optimizer = "adamw",
    accumulate: options.Accumulate = 1,
    adapter: options.AdapterKind = "",
    adapter_rank: options.AdapterRank = 16,
    adapter_targets: options.AdapterTargets = ATTENTION,
    offload_optimizer: options.OffloadOptimizer = False,
    host_memory: options.HostMemory = "",
    dropout: options.Dropout = True,
    capture: options.Capture = False,
    compile_step: options.Compile = False,
    weights: options.Weights = "",
    kv_dtype: Annotated[
        str,
        typer.Option(help="Of the cache: fp32, bf16, fp16, fp8, int8. (default: as all else)"),
    ] = "",
    reserve: options.Reserve = "",
    calibration: options.CalibrationFile = None,
    gpus: layouts.Gpus = None,
    gpus_per_node: layouts.GpusPerNode = 8,
    interconnect: layouts.Interconnect = "",
    layout: layouts.LayoutName = "auto",
    output_format: options.Format = "table",
) -> None:
    """Does it fit, how long does it take, and what would change that?

    Example: rmtscale estimate -m qwen3-8b -d h100 --tokens 128k --mode train

    Example: rmtscale estimate -m opt-30b -d a100 --tokens 64k --mode train --gpus 16
    """
    require_format(output_format)
    layouts.require_many(gpus, gpus_per_node, mode)
    refuse_unread_settings(mode, adapter, offload_optimizer=offload_optimizer)
    spec, gpu = options.chosen_model(model, weights), options.chosen_device(device, reserve)
    if mode == "train" and not weights:
        spec = options.trained(spec)
    usual, precision = not precision, precision or default_precision(gpu)
    work = chosen_workload(
        mode,
        parse_size(tokens),
        batch_size=batch_size,
        precision=precision,
        attention=attention,
        optimizer=optimizer,
        accumulate=accumulate,
        adapter=chosen_adapter(adapter, adapter_rank, adapter_targets),
        offload_optimizer=offload_optimizer,
        host_memory=host_memory,
        dropout=dropout,
        capture=capture,
        compile_step=compile_step,
    )
    question = Question(
        model=spec,
        device=gpu,
        workload=work,
        mode=mode,
        new_tokens=parse_size(new_tokens, "new tokens"),
        kv_dtype=kv_dtype or None,
        segment_size=options.chosen_segment_size(segment_size),
        memory_tokens=memory_tokens,
        calibration=options.chosen_calibration(calibration, gpu),
    )
    if gpus is not None:
        layouts.write_many(
            spec,
            [question.work],
            gpu,
            layouts.Asked(
                gpus,
                gpus_per_node,
                interconnect,
                layout,
                question.segment_size,
                memory_tokens,
                question.calibration,
            ),
            output_format,
            usual=usual,
            terms=True,
        )
        return
    found = answer(question)
    if output_format != "table":
        change = None if found.change is None else found.change.words
        write_rows([row | {"cheapest_change": change} for row in found.rows()], output_format)
        return
    write_text(found.verdict)
    _write_question(found)
    _write_ways(found)
    _write_terms(found)
    _write_next(found)


def _write_question(found: Estimate) -> None:
    question, work = found.question, found.question.work
    what = {"train": "a training step", "prefill": "a prompt read, its cache kept"}.get(
        question.mode,
        f"a prompt read and {format_tokens(question.new_tokens)} tokens written",
    )
    if question.mode == "prefill" and not work.cache:
        what = "one forward pass"
    write_line()
    write_text(
        f"{question.model.name} on {options.room(question.device)}: {what}; "
        f"{format_tokens(work.tokens)} tokens, {in_words(work)}"
    )


def _write_ways(found: Estimate) -> None:
    columns, rows = found.cells()
    write_table(columns, rows, text_columns=1)
    if found.no_rmt:
        write_text(f"No RMT rows: {found.no_rmt}.")
    else:
        if not attends(found.question.model):
            write_text(
                f"{found.question.model.name} is recurrent itself: its cost grows with the length "
                "as that of an RMT does."
            )
        write_text(
            "RMT rows: an existing checkpoint has to be trained to use its memory; what they cost "
            "says nothing of what it then remembers."
        )
    _write_eager(found)
    for method in ("full", "rmt"):
        ways = [way for way in found.ways if way.method == method]
        for way in [way for way in ways if way.fits][:1]:
            if way.advice:
                write_text(advice_words(way.title, way.advice))
    if found.segment_reason:
        write_text(f"Segment size: {found.segment_reason}.")


def _write_eager(found: Estimate) -> None:
    """Says which of the RMTs runs eagerly although captured steps were asked for, and why."""
    model, work = found.question.model, found.question.work
    if found.no_rmt:
        return
    plain = why_eager(model, work)
    checked = why_eager(model, replace(work, checkpoint_segments=work.train))
    if plain:
        write_text(plain)
    elif checked:
        write_text(f"With checkpoints: {checked[0].lower()}{checked[1:]}")


def _write_terms(found: Estimate) -> None:
    """Memory by term as bars: of full attention, and of the last way, on one scale."""
    shown = [found.full, *([found.ways[-1]] if len(found.ways) > 1 else [])]
    amounts = [_by_term(way) for way in shown]
    names = list(dict.fromkeys(name for terms in amounts for name in terms))
    most = max(amount for terms in amounts for amount in terms.values())
    rows = [
        [name.replace("_", " "), *(cell for terms in amounts for cell in _bar(terms, name, most))]
        for name in names
    ]
    columns = ["memory by term", *(cell for way in shown for cell in (way.title, ""))]
    write_table(columns, rows, text_columns=1, bars=tuple(range(2, len(columns), 2)))


def _by_term(way: Way) -> dict[str, int]:
    terms: dict[str, int] = {}
    for term in way.peak.terms:
        if term.amount:
            terms[term.name] = terms.get(term.name, 0) + term.amount
    return terms


def _bar(terms: dict[str, int], name: str, most: int) -> tuple[str, str]:
    amount = terms.get(name, 0)
    return (format_bytes(amount) if amount else "", "\u2588" * round(_BAR * amount / most))


def _write_next(found: Estimate) -> None:
    question = found.question
    if found.others:
        tries = "; ".join(
            f"{change.words} ({format_bytes(change.peak_bytes)})" for change in found.others
        )
        write_text(f"It also fits with: {tries}.")
    work = question.work
    asked = f"-m {question.model.name} -d {question.device.name} --precision {work.precision}"
    if work.adapter is not None:
        asked += f" --adapter {work.adapter.kind} --adapter-rank {work.adapter.rank}"
        if work.adapter.lora:
            asked += f" --adapter-targets {work.adapter.targets}"
    terms = "generate-cost" if question.mode == "generate" else f"memory --mode {question.mode}"
    write_text(f"Next: rmtscale plan {asked} for all lengths; {terms} with the same for more.")
    write_text(_about_time(found))


def _about_time(found: Estimate) -> str:
    ways = found.ways
    unconfirmed = (
        ""
        if all(way.peak.confirmed for way in ways)
        else (
            f" Memory of a {found.question.model.kind} is an upper bound that no device confirmed."
        )
    )
    if ways[0].time is None:
        return f"Predicted, without times: {found.question.device.name} has no known peaks." + (
            unconfirmed
        )
    if predicts_kernels(found.question):
        pieces = any(way.piece_tokens for way in ways)
        other = "; of a prompt in pieces, from the roofline to a slow host" if pieces else ""
        return (
            "Predicted. Time: what single kernels and the host's operators add up to, between the "
            f"ends that their spread leaves{other}; where two ranges overlap, it is not known "
            f"which way is faster.{unconfirmed}"
        )
    return (
        f"Predicted. Time: from the roofline, which nothing beats, to "
        f"{format_percent(SLOW_SHARE)} of the vendor's peaks and a slow host; where two ranges "
        f"overlap, it is not known which way is faster.{unconfirmed}"
    )
