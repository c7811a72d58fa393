"""``rmtscale profile``: memory and time measured on the machine at hand, beside the prediction."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from rmtscale.cli import options, profile_workers
from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import (
    require_format,
    write_line,
    write_note,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.cli.profile_checks import require_device, require_libraries, require_own_records
from rmtscale.cli.progress import watching
from rmtscale.cli.ranks import processes_here
from rmtscale.errors import BadInput, CheckFailed
from rmtscale.profiler.concerns import Unread
from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.profiler.prediction import Machine, fits, predict, this_machine
from rmtscale.profiler.presets import PRESETS
from rmtscale.profiler.shared_sweep import run_shared
from rmtscale.profiler.sweep import ORDERS, Sweep, run_sweep
from rmtscale.records.claims import folder_of
from rmtscale.records.mapping import to_mapping
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.report.measured import SeriesTable, measured_tables, noise, predicted_tables
from rmtscale.specs.devices import find_device
from rmtscale.units import format_bytes, format_tokens, parse_sizes


def command(
    sweep: Annotated[
        Path | None,
        typer.Argument(help="A sweep as a TOML file, such as profiles/sweeps/figure-10.toml."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"A sweep known by name: {', '.join(PRESETS)}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Presets, as a list; random weights.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="full,rmt.  (default: both)")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Text tokens of the input: a list such as 512,32k.")
    ] = None,
    segment_size: Annotated[
        str | None, typer.Option(help="RMT: a list; memory tokens included.  (default: 512)")
    ] = None,
    memory_tokens: Annotated[int | None, typer.Option(help="RMT.  (default: 10)")] = None,
    mode: Annotated[str | None, typer.Option(help="train,forward.  (default: forward)")] = None,
    precision: Annotated[
        str | None, typer.Option(help="A list such as fp32,bf16,amp-bf16.  (default: bf16)")
    ] = None,
    attention: Annotated[str | None, typer.Option(help="eager,sdpa.  (default: sdpa)")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences at once.  (default: 1)")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="A list such as adamw,adamw-fused,sgd.  (default: adamw)")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Micro-batches before each optimizer step.  (default: 1)")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Train only these: lora or parallel.")] = None,
    adapter_rank: Annotated[
        int | None, typer.Option(help="Inner width of each adapter.  (default: 16)")
    ] = None,
    adapter_targets: Annotated[
        str | None, typer.Option(help="LoRA: attention, all, or names.  (default: attention)")
    ] = None,
    offload_optimizer: Annotated[
        bool | None, typer.Option("--offload-optimizer", help="The optimizer is on the host.")
    ] = None,
    host_memory: Annotated[
        str | None, typer.Option(help="Memory of the host, such as 512GiB.")
    ] = None,
    dropout: Annotated[
        bool | None,
        typer.Option("--dropout/--no-dropout", help="In training: as the model's config has it."),
    ] = None,
    bptt_segments: options.BpttSegments = None,
    checkpoint_segments: Annotated[
        bool | None, typer.Option("--checkpoint-segments", help="RMT: recompute each segment.")
    ] = None,
    checkpoint_layers: Annotated[
        bool | None, typer.Option("--checkpoint-layers", help="Recompute each layer.")
    ] = None,
    logits: Annotated[
        str | None, typer.Option(help="Full attention, forward: all or last.  (default: last)")
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        typer.Option("--cuda-graph/--no-cuda-graph", help="RMT, forward: one captured step."),
    ] = None,
    capture: Annotated[
        bool | None,
        typer.Option("--capture/--no-capture", help="RMT, train: whole steps captured."),
    ] = None,
    compile_step: Annotated[
        bool | None, typer.Option("--compile", help="RMT, captured: full segments compiled.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Real weights: a folder or hub name (safetensors).")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Under torchrun: ddp,fsdp2, over all data ranks.")
    ] = None,
    tp: Annotated[
        str | None, typer.Option(help="Under torchrun: processes that share each matrix, a list.")
    ] = None,
    cp: Annotated[
        str | None,
        typer.Option(help="Under torchrun: processes that share each sequence, a list."),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="How they do: torch,torchring.  (default: torch)")
    ] = None,
    state_by_state: Annotated[
        bool | None,
        typer.Option("--state-by-state", help="RMT, under torchrun: so differentiated."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Cap of the process, such as 80GiB.")
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Whole steps before measuring.  (default: 2)")
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Timed steps.  (default: 5)")] = None,
    timeout_seconds: Annotated[
        float | None, typer.Option("--timeout", help="Seconds for one point.  (default: 300)")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help=f"{' or '.join(ORDERS)}.  (default: random)")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order.  (default: 0)")] = None,
    predict_for: Annotated[
        str | None, typer.Option(help="Predict for this GPU; see 'rmtscale devices'.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of records (JSON lines); goes on where it ends."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the grid and what is predicted.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Measure again what crashed, timed out or was skipped.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: what is in the file is lost.")
    ] = False,
    part: profile_workers.Part = None,
    shared: profile_workers.Shared = False,
    on: profile_workers.On = None,
    slurm: profile_workers.Slurm = None,
    output_format: options.Format = "table",
) -> None:
    """Measures memory and time of full attention and RMT, each point in its own process.

    A stopped sweep goes on: points that are in --out are not measured again.
    Longer inputs of a series that ran out of memory are skipped.

    Example: rmtscale profile --model gpt2 --tokens 1k,4k --mode train --out build/gpt2.jsonl
    """
    require_format(output_format)
    given: dict[str, Any] = {
        "model": _list(model or checkpoint),
        "method": _list(methods),
        "tokens": None if tokens is None else parse_sizes(tokens),
        "segment_size": None if segment_size is None else parse_sizes(segment_size, "segment size"),
        "memory_tokens": memory_tokens,
        "mode": _list(mode),
        "precision": _list(precision),
        "attention": _list(attention),
        "batch_size": batch_size,
        "optimizer": _list(optimizer),
        "accumulate": accumulate,
        "adapter": _list(adapter),
        "adapter_rank": adapter_rank,
        "adapter_targets": adapter_targets,
        "offload_optimizer": offload_optimizer,
        "host_memory": host_memory,
        "dropout": dropout,
        "bptt_segments": bptt_segments,
        "checkpoint_segments": checkpoint_segments,
        "checkpoint_layers": checkpoint_layers,
        "logits": logits,
        "cuda_graph": cuda_graph,
        "capture": capture,
        "compile_step": compile_step,
        "checkpoint": checkpoint,
        "shard": _list(shard),
        "tp": None if tp is None else parse_sizes(tp, "tp"),
        "cp": None if cp is None else parse_sizes(cp, "cp"),
        "context": _list(context),
        "state_by_state": state_by_state,
        "device": device or ("cuda" if predict_for else None),
        "memory_limit": memory_limit,
        "warmup_steps": warmup_steps,
        "repeats": repeats,
        "timeout_seconds": timeout_seconds,
        "order": order,
        "seed": seed,
    }
    try:
        todo = make_sweep(
            _definition(sweep, preset, model or checkpoint),
            {key: value for key, value in given.items() if value is not None},
            None if predict_for is None else find_device(predict_for),
            processes_here(),
        )
    except Unread as error:
        refuse_unread(error.expected, error.key)
        raise
    if force:
        refuse_unread("without --force, which begins anew", "retry")
    if part is not None:
        todo = profile_workers.part_of(todo, part)
    where = profile_workers.chosen(on, slurm, shared=shared, force=force, part=part)
    if (shared or on is not None) and any(point.layout is not None for point in todo.points):
        raise BadInput("layouts with many workers: expected one sweep, whose points take all GPUs")
    machine = this_machine(todo.points[0].device, predict_for)
    if dry_run:
        _write_plan(todo, machine, output_format)
        return
    if out is None:
        raise BadInput("no --out: expected a file for the records, or --dry-run")
    require_libraries()
    if where is None or where.kind == "local":
        require_device(todo.points[0].device)
    store = RecordStore(out, anew=force)
    require_own_records(store, todo.points[0].device)
    try:
        with watching() as observer:
            if where is not None:
                profile_workers.run_on(
                    where, todo, store, observer, slurm, predict_for=predict_for, retry=retry
                )
            else:
                run = run_shared if shared or folder_of(out).is_dir() else run_sweep
                run(todo, store, observer, machine=machine, retry=retry)
    except KeyboardInterrupt:
        with suppress(OSError):  # a terminal that was closed
            write_note(f"what was measured is in {out}; the same command goes on from there")
        raise
    _write_result(todo, store, machine, output_format)


def _list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise BadInput(f"list {text!r}: expected one or more names, with commas between them")
    return parts


def _definition(sweep: Path | None, preset: str | None, model: str | None) -> dict[str, Any]:
    if sweep is not None and preset is not None:
        raise BadInput(f"sweep {str(sweep)!r} and preset {preset!r}: expected one of them")
    if sweep is not None:
        return read_definition(sweep)
    if preset is not None:
        return {"preset": preset}
    if model is None:
        raise BadInput("nothing to measure: expected --model, --preset or a sweep file")
    return {"grid": [{}]}


def _write_plan(sweep: Sweep, machine: Machine, output_format: str) -> None:
    predicted = [(point, predict(point, machine.device)) for point in sweep.points]
    grid = [
        (point, prediction, fits(point, prediction, machine)) for point, prediction in predicted
    ]
    if output_format != "table":
        write_rows(
            [
                {"point": to_mapping(point), "predicted": to_mapping(prediction), "fits": fit}
                for point, prediction, fit in grid
            ],
            output_format,
        )
        return
    limit = sweep.points[0].memory_limit_bytes or machine.memory_bytes
    room = "" if limit is None else f", {format_bytes(limit)}"
    once = sum(not point.replicate for point in sweep.points)
    write_line(f"{once} points (one twice), {sweep.order}, on {machine.title}{room}")
    _write_tables(predicted_tables(grid))
    misfits = sum(fit is False and not point.replicate for point, _, fit in grid)
    if misfits:
        write_text(
            f"{misfits} of {once} points will not fit, by the prediction; they are tried "
            "nevertheless."
        )
    if machine.why_unknown:
        write_text(f"No time is predicted: {machine.why_unknown}.")
    write_text("Predicted; nothing was measured.")


def _write_tables(tables: list[SeriesTable]) -> None:
    write_line()
    for table in tables:
        write_text(table.title)
        write_table(table.columns, table.rows)
        for remark in table.remarks:
            write_text(remark)
        if table.remarks:
            write_line()


def _write_result(sweep: Sweep, store: RecordStore, machine: Machine, output_format: str) -> None:
    reading = store.read()
    latest = reading.latest()
    records = [latest[point.key] for point in sweep.points if point.key in latest]
    for warning in reading.warnings():
        write_note(f"warning: {store.path}: {warning}")
    if output_format != "table":
        write_rows([record.to_row() for record in records], output_format)
    else:
        _write_tables(measured_tables(records))
        for line in noise(records):
            write_text(line)
        write_text(_reading_help(records))
        unknown = {field: why for one in records for field, why in one.measured.unknown.items()}
        for field, why in unknown.items():
            write_text(f"Not known: {field} ({why}).")
        if machine.why_unknown:
            write_text(f"No time is predicted: {machine.why_unknown}.")
        write_line(f"{format_tokens(len(records))} records in {store.path}")
    failed = [record for record in records if record.measured.outcome in ("crashed", "timeout")]
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(records)} points crashed or ran out of time; --retry measures "
            "them again"
        )


def _reading_help(records: list[Record]) -> str:
    if any(record.point.device == "cpu" for record in records):
        memory = (
            "resident memory of the process above its start without a model, which is no "
            "allocator's peak and is not held against the predicted one"
        )
    else:
        memory = "peak of allocated tensors; error: predicted against measured memory"
    return f"step: median; IQR: its spread; memory: {memory}; ceiling: share of the matmul ceiling."
