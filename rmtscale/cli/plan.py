"""``rmtscale plan``: full attention or RMT (or another method), on a device, by length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import layouts, options
from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_text
from rmtscale.cli.plan_words import LIMITS, TITLES, Plans, write_answers, write_sizes, write_words
from rmtscale.cli.workload import (
    chosen_adapter,
    chosen_workload,
    in_words,
    refuse_unread_settings,
    why_eager,
)
from rmtscale.costs.advice import advice_words, advise
from rmtscale.costs.breakeven import LONGEST_TOKENS
from rmtscale.costs.conventions import CONVENTIONS, DEFAULT_CONVENTION
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.plan import Plan, make_plan
from rmtscale.costs.segment_choice import possible_segment_sizes, recommend_segment
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.weights import require_weights, weight_bytes
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import ATTENTION, Adapter
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import find_precision
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes, format_tokens, parse_size, require_one_of

if TYPE_CHECKING:
    from rmtscale.costs.methods.method import Method as CostMethod

_REFERENCE_TOKENS = 65_536
"""The length at which a segment size is recommended: a plan is about all lengths."""
_TIMES = {
    "measured": "what single operators on such a GPU add up to; between two lengths it is not "
    "known which is faster, for the host's speed changes and kernels are predicted within a few "
    "per cent",
    "datasheet": "of shares of the datasheet that an H200 reaches, and a host that may be half or "
    "twice as fast: rmtscale calibrate --measure narrows it",
}


def command(
    model: options.Model,
    device: options.Device,
    segment_size: options.ChosenSegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    method: options.Method = "rmt",
    mode: Annotated[
        str,
        typer.Option(
            help="prefill (keys and values are kept), train, forward (one pass that keeps "
            "nothing) or all."
        ),
    ] = "all",
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
    bptt_segments: options.BpttSegments = None,
    capture: options.Capture = False,
    compile_step: options.Compile = False,
    convention: Annotated[
        str,
        typer.Option(
            help=f"How FLOPs are counted: {', '.join(CONVENTIONS)}.  [default: hoffmann; matmul "
            "for methods other than rmt and with adapters]"
        ),
    ] = "",
    calibration: options.CalibrationFile = None,
    reserve: options.Reserve = "",
    gpus: layouts.Gpus = None,
    gpus_per_node: layouts.GpusPerNode = 8,
    interconnect: layouts.Interconnect = "",
    layout: layouts.LayoutName = "auto",
    tokens: Annotated[str, typer.Option(help="Many GPUs: text tokens of the input.")] = "1024k",
    output_format: options.Format = "table",
) -> None:
    """From which length RMT is worth it over full attention, and where each runs out of memory.

    Example: rmtscale plan --model gpt2 --device a100-80gb

    Example: rmtscale plan --model opt-175b --device a100-80gb --gpus 256 --tokens 1024k
    """
    require_format(output_format)
    require_one_of("mode", mode, (*TITLES, "all", "both"))
    plainly = method == "rmt" and not adapter
    convention = convention or (DEFAULT_CONVENTION if plainly else "matmul")
    require_one_of("convention", convention, CONVENTIONS)
    spec, gpu = options.chosen_model(model, weights), options.chosen_device(device, reserve)
    usual, precision = not precision, precision or default_precision(gpu)
    calibrated = options.chosen_calibration(calibration, gpu)
    modes = _modes(spec, mode)
    _refuse_unread(modes, (gpus, gpus_per_node), method, adapter, offload=offload_optimizer)
    chosen_one = chosen_adapter(adapter, adapter_rank, adapter_targets)
    by_mode = _by_mode(spec, modes, asked=bool(weights), adapter=chosen_one)
    training: dict[str, Any] = {
        "accumulate": accumulate,
        "adapter": chosen_one,
        "offload_optimizer": offload_optimizer,
        "host_memory": host_memory,
        "bptt_segments": bptt_segments,
        "capture": capture,
    }

    def work(mode: str) -> Workload:
        # Beside a training, what is set for it says nothing of the other modes.
        own = training if mode == "train" or "train" not in modes else {}
        captured = mode != "train" or capture or len(modes) == 1
        return chosen_workload(
            mode,
            _REFERENCE_TOKENS,
            batch_size=batch_size,
            precision=precision,
            attention=attention,
            optimizer=optimizer,
            dropout=dropout,
            compile_step=compile_step and captured,
            **own,
        )

    asked = work("train" if "train" in modes else modes[0])
    if gpus is not None:
        layouts.write_many(
            spec,
            [replace(work(name), tokens=parse_size(tokens)) for name in _spread(modes)],
            gpu,
            layouts.Asked(
                gpus,
                gpus_per_node,
                interconnect,
                layout,
                options.chosen_segment_size(segment_size),
                memory_tokens,
                calibrated,
            ),
            output_format,
            usual=usual,
        )
        return
    chosen, reason = _segments(segment_size, by_mode.get("train", spec), asked, memory_tokens, gpu)
    title, design = options.chosen_design(method, spec, chosen)
    no_rmt = why_no_rmt(spec) if design is chosen else ""
    segmented = design is chosen and not no_rmt
    if segmented:
        chosen.segment_tokens(spec)

    def plans(design: Recurrence | CostMethod | None) -> Plans:
        return {
            name: make_plan(by_mode[name], work(name), design, gpu, convention, calibrated)
            for name in modes
        }

    sizes = _sizes(spec, chosen, memory_tokens) if segmented else [chosen.segment_size]
    by_size = {
        size: plans(Recurrence(size, memory_tokens) if segmented else None if no_rmt else design)
        for size in sizes
    }
    if output_format != "table":
        head: Row = {"method": "full" if no_rmt else method, "device": gpu.name}
        settings = {"precision": precision, "memory_tokens": memory_tokens if segmented else None}
        settings |= {"convention": convention, "time": _time_by(gpu, calibrated)}
        write_rows(_rows(by_mode, by_size.values(), head, settings), output_format)
        return
    mine = by_size[chosen.segment_size]
    write_line(f"{spec.name} on {options.room(gpu)}{_stored(spec, precision)}")
    write_text(in_words(asked) + (f"; {_segment_words(spec, chosen)}" if segmented else ""))
    if not segmented:
        write_text(f"No RMT: {no_rmt}." if no_rmt else options.described(title, design, spec))
    if reason:
        write_text(f"Segment size {chosen.segment_size} is recommended: {reason}.")
    _write_eager(spec, asked, segmented=segmented)
    named = "" if no_rmt else title if segmented else method
    write_answers(mine, convention, named, timed=gpu.timed)
    write_words(spec, mine, named, timed=gpu.timed)
    if "train" in modes:
        _write_advice(
            *(by_mode["train"], work("train"), mine["train"], {named: chosen} if segmented else {}),
            *(gpu, calibrated),
        )
    if len(sizes) > 1:
        write_sizes(by_size, chosen.segment_size, timed=gpu.timed)
    _write_remarks(spec, gpu, modes, calibrated)


def _write_eager(spec: ModelSpec, work: Workload, *, segmented: bool) -> None:
    """Says why captured steps that were asked for would run eagerly, where they would."""
    why = why_eager(spec, work) if segmented else ""
    if why:
        write_text(why)


def _write_advice(
    spec: ModelSpec,
    work: Workload,
    plan: Plan,
    segments: Mapping[str, Recurrence],
    gpu: DeviceSpec,
    calibrated: TimeConstants | None,
) -> None:
    """Says what saves most time in training, at one length that fits."""
    if plan.full_longest_tokens is None:  # not one token fits: there is nothing to save
        return
    work = replace(work, tokens=min(_REFERENCE_TOKENS, plan.full_longest_tokens))
    for title, design in {"Full attention": None, **segments}.items():
        found = advise(spec, work, gpu, design, calibrated)
        if found:
            found = (max(found, key=lambda one: one.saved_seconds),)
            write_text(advice_words(f"{title} at {format_tokens(work.tokens)} tokens", found))


def _rows(
    by_mode: Mapping[str, ModelSpec], by_size: Iterable[Plans], head: Row, settings: Row
) -> list[Row]:
    """A row for each segment size and mode."""
    width = find_precision(settings["precision"]).weight_bytes
    return [
        {"model": by_mode[name].name}
        | (head | {"mode": name} | settings)
        | {"weight_bytes": weight_bytes(by_mode[name], width)}
        | _limits(asdict(plan), name, alone=head["method"] == "full")
        for plans in by_size
        for name, plan in plans.items()
    ]


def _segment_words(spec: ModelSpec, chosen: Recurrence) -> str:
    """Returns what a segment consists of."""
    special = "" if spec.decoder else " and special"
    return (
        f"RMT segment {chosen.segment_size} = {chosen.segment_tokens(spec)} text + "
        f"{chosen.overhead(spec)} memory{special}"
    )


def _sizes(spec: ModelSpec, chosen: Recurrence, memory_tokens: int) -> list[int]:
    """The segment sizes that are shown, the chosen one among them."""
    return sorted({*possible_segment_sizes(spec, memory_tokens), chosen.segment_size})


def _segments(
    size: str, spec: ModelSpec, asked: Workload, memory_tokens: int, gpu: DeviceSpec
) -> tuple[Recurrence, str]:
    """The RMT that is asked for; or the recommended one, and why."""
    chosen = options.chosen_segment_size(size)
    if chosen is None:
        return recommend_segment(spec, asked, memory_tokens, gpu)
    return Recurrence(chosen, memory_tokens), ""


def _by_mode(
    spec: ModelSpec, modes: Sequence[str], *, asked: bool, adapter: Adapter | None
) -> dict[str, ModelSpec]:
    """Returns the model of each mode: what is trained has plain weights, but beside adapters.

    Raises:
        BadInput: quantised weights that were asked for, of training alone.
    """
    if asked and (list(modes) == ["train"] or adapter is not None):
        require_weights(spec, None, train=True, adapter=adapter)
        return dict.fromkeys(modes, spec)
    return {name: options.trained(spec) if name == "train" else spec for name in modes}


def _stored(spec: ModelSpec, precision: str) -> str:
    """Says on a line of its own how the weights are stored, where they are quantised."""
    if spec.quantization is None:
        return ""
    stored = format_bytes(weight_bytes(spec, find_precision(precision).weight_bytes))
    return f"\nweights {stored} in inference: {spec.quantization.title}"


def _spread(modes: Sequence[str]) -> list[str]:
    """The modes to plan on many GPUs: one pass that keeps nothing only where it alone is asked."""
    return [name for name in modes if name != "forward" or len(modes) == 1]


def _refuse_unread(
    modes: Sequence[str],
    where: tuple[int | None, int],
    method: str,
    adapter: str,
    *,
    offload: bool,
) -> None:
    """Refuses options that were given and that a plan of these modes does not read.

    Args:
        where: the number of GPUs, None for one alone, and of those that share a node.
    """
    layouts.require_many(*where, modes[0], method)
    if where[0] is None:
        refuse_unread("with --gpus; a plan is of all lengths, estimate is of one", "tokens")
    mode = "train" if "train" in modes else modes[0]
    refuse_unread_settings(mode, adapter, offload_optimizer=offload)


def _modes(spec: ModelSpec, mode: str) -> tuple[str, ...]:
    """The modes to plan: what has an encoder has no prefill."""
    keeps = spec.decoder and not (isinstance(spec, LayeredSpec) and spec.encoder_groups)
    if mode == "prefill" and not keeps:
        raise BadInput(f"mode 'prefill': {spec.name} writes no text, expected forward or train")
    if mode not in ("all", "both"):
        return (mode,)
    return tuple(TITLES) if keeps else ("forward", "train")


def _limits(row: dict[str, Any], mode: str, *, alone: bool) -> dict[str, Any]:
    """A row that says why a longest input is null: its search ended before the length did, not one
    token fits, or nothing was to be known (``fits`` is null too)."""
    ended = {f"{name}_search_ended": row[name] == LONGEST_TOKENS for name in LIMITS}
    checkpoints = mode == "train" and (alone or row["segment_size"] is not None)
    fits = {
        name.replace("longest_tokens", "fits"): row[name] is not None
        if (checkpoints or "checkpointed" not in name) and (name.startswith("full") or not alone)
        else None
        for name in LIMITS
    }
    return row | {name: None for name in LIMITS if row[name] == LONGEST_TOKENS} | ended | fits


def _time_by(gpu: DeviceSpec, calibrated: TimeConstants | None) -> str:
    """Names where the constants come from that times are predicted with."""
    if not gpu.timed:
        return "not known"
    found = known_constants(gpu) if calibrated is None else calibrated
    return "measured" if found.measured else "datasheet"


def _write_remarks(
    spec: ModelSpec, gpu: DeviceSpec, modes: Sequence[str], calibrated: TimeConstants | None
) -> None:
    """Writes what time and memory are, and what they leave out."""
    if "forward" in modes and "prefill" in modes:
        write_text("One pass keeps nothing of the text: nothing can be written behind it.")
    time = f"not known on {gpu.name}"
    if gpu.timed:
        time = _TIMES[_time_by(gpu, calibrated)]
    memory = "tensors and library workspaces" if gpu.library_workspace_bytes else "tensors alone"
    write_text(f"Predicted. Time is {time}. Memory is that of {memory}.")
    if isinstance(spec, LayeredSpec) and not spec.written_like:
        write_text(
            f"Memory is an upper bound, not confirmed: no device has measured a {spec.kind}."
        )
