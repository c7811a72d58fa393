"""``rmtscale plan``: full attention or RMT (or another method), on a device, by length."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.costs.breakeven import LONGEST_TOKENS
from rmtscale.costs.calibration import Calibration
from rmtscale.costs.conventions import CONVENTIONS, DEFAULT_CONVENTION
from rmtscale.costs.plan import Plan, make_plan
from rmtscale.errors import BadInput, quoted_list
from rmtscale.report.calibration import read_calibration
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import MODES, Workload
from rmtscale.units import format_count, format_tokens, parse_size, require_one_of

if TYPE_CHECKING:
    from rmtscale.costs.methods.method import Method as CostMethod

_OTHER_SIZES = (128, 256, 512, 1024, 2048, 4096)
_TITLES = {"forward": "inference", "train": "training"}
Plans = dict[str, Plan]


def command(
    model: options.Model,
    device: options.Device,
    segment_size: options.SegmentSize = "512",
    memory_tokens: options.MemoryTokens = 10,
    method: options.Method = "rmt",
    mode: Annotated[str, typer.Option(help="forward, train or both.")] = "both",
    batch_size: options.BatchSize = 1,
    dtype: options.Dtype = "fp32",
    attention: options.Attention = "sdpa",
    optimizer: options.Optimizer = "adamw",
    dropout: options.Dropout = True,
    bptt_segments: options.BpttSegments = None,
    convention: Annotated[
        str,
        typer.Option(
            help=f"How FLOPs are counted: {', '.join(CONVENTIONS)}.  [default: hoffmann; matmul "
            "for methods other than rmt]"
        ),
    ] = "",
    calibration: Annotated[
        Path | None, typer.Option(help="What 'rmtscale calibrate' wrote for this device.")
    ] = None,
    reserve: options.Reserve = "",
    output_format: options.Format = "table",
) -> None:
    """From which length RMT is worth it over full attention, and where each runs out of memory.

    Example: rmtscale plan --model gpt2 --device a100-80gb
    """
    require_format(output_format)
    require_one_of("mode", mode, (*MODES, "both"))
    convention = convention or (DEFAULT_CONVENTION if method == "rmt" else "matmul")
    require_one_of("convention", convention, CONVENTIONS)
    spec, gpu = options.chosen_model(model), options.chosen_device(device, reserve)
    calibrated = None if calibration is None else _calibration_of(calibration, gpu.name, dtype)
    chosen = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    title, design = options.chosen_design(method, spec, chosen)
    segmented = design is chosen
    if segmented:
        chosen.segment_tokens(spec)
    modes = MODES if mode == "both" else (mode,)

    def plans(design: Recurrence | CostMethod) -> Plans:
        return {
            name: make_plan(
                spec,
                Workload(
                    tokens=1,
                    batch_size=batch_size,
                    mode=name,  # type: ignore[arg-type]
                    dtype=dtype,
                    attention=attention,
                    optimizer=optimizer,
                    dropout=None if dropout else False,
                    bptt_segments=bptt_segments,
                ),
                design,
                gpu,
                convention,
                calibrated,
            )
            for name in modes
        }

    sizes = _possible_sizes(spec, chosen) if segmented else [chosen.segment_size]
    by_size = {
        size: plans(Recurrence(size, memory_tokens) if segmented else design) for size in sizes
    }
    if output_format != "table":
        write_rows(
            [
                {"model": spec.name, "method": method, "device": gpu.name, "mode": name}
                | {"dtype": dtype, "memory_tokens": memory_tokens if segmented else None}
                | {"convention": convention, "time": _time_by(calibrated)}
                | asdict(plan)
                for size_plans in by_size.values()
                for name, plan in size_plans.items()
            ],
            output_format,
        )
        return
    mine = by_size[chosen.segment_size]
    write_line(f"{spec.name} on {options.room(gpu)}")
    settings = f"{dtype}, {attention}, batch size {batch_size}, {optimizer}"
    if segmented:
        write_line(
            f"{settings}; RMT segment {chosen.segment_size} = {chosen.segment_tokens(spec)} text "
            f"+ {chosen.overhead(spec)} memory" + ("" if spec.decoder else " and special")
        )
    else:
        write_line(settings)
        write_text(options.described(title, design, spec))
    short = title if segmented else method
    _write_answers(mine, convention, short, _time_by(calibrated))
    _write_words(spec, mine, short)
    if len(sizes) > 1:
        _write_sizes(by_size, chosen.segment_size)
    time = (
        "a roofline: the host, which slows short segments down, and the efficiency of kernels are "
        "not in it"
        if calibrated is None
        else "calibrated by measured records; an RMT's inference runs captured"
    )
    memory = "tensors and library workspaces" if gpu.library_workspace_bytes else "tensors alone"
    write_text(f"Predicted. Time is {time}. Memory is that of {memory}.")
    if isinstance(spec, LayeredSpec) and not spec.written_like:
        write_text(
            f"Memory is an upper bound, not confirmed: no device has measured a {spec.kind}."
        )


def _possible_sizes(spec: ModelSpec, chosen: Recurrence) -> list[int]:
    """Segment sizes worth comparing: those the model can have, the chosen one among them."""
    overhead = chosen.overhead(spec)
    sizes = {
        size
        for size in _OTHER_SIZES
        if size >= 4 * overhead and (spec.positions is None or size <= spec.positions)
    }
    return sorted(sizes | {chosen.segment_size})


def _time_by(calibrated: Calibration | None) -> str:
    return "roofline" if calibrated is None else "calibrated"


def _calibration_of(path: Path, device: str, dtype: str) -> Calibration:
    fitted = read_calibration(path).calibration
    if fitted.device != device:
        raise BadInput(f"calibration {str(path)!r}: is of {fitted.device}, expected {device}")
    if dtype not in fitted.matmul_efficiency:
        known = quoted_list(fitted.matmul_efficiency)
        raise BadInput(f"dtype {dtype!r}: calibration {str(path)!r} has {known}")
    return fitted


def _write_answers(plans: Plans, convention: str, title: str, time: str) -> None:
    questions = {
        f"{title} needs fewer FLOPs ({convention}) from": "fewer_flops_tokens",
        f"{title} needs less memory from": "less_memory_tokens",
        "  with one checkpoint per segment from": "less_memory_checkpointed_tokens",
        f"{title} needs less time ({time}) from": "less_time_tokens",
        "full attention fits up to": "full_longest_tokens",
        f"{title} fits up to": "longest_tokens",
        "  with one checkpoint per segment up to": "checkpointed_longest_tokens",
    }
    rows = []
    for question, field in questions.items():
        show = _limit if field.endswith("longest_tokens") else _start
        cells = [
            ""
            if "checkpointed" in field and (mode == "forward" or plan.segment_size is None)
            else show(getattr(plan, field))
            for mode, plan in plans.items()
        ]
        if any(cells):
            rows.append([question, *cells])
    write_table(["tokens", *(_TITLES[mode] for mode in plans)], rows, text_columns=1)


def _write_words(spec: ModelSpec, plans: Plans, title: str) -> None:
    """The answer in a sentence or two for each mode; where full attention wins comes first."""
    for mode, plan in plans.items():
        starts = {
            "FLOPs": plan.fewer_flops_tokens,
            "memory": plan.less_memory_tokens,
            "time": plan.less_time_tokens,
        }
        known = [start for start in starts.values() if start is not None]
        never = [name for name, start in starts.items() if start is None]
        parts = []
        if len(known) == len(starts):
            parts.append(
                f"full attention wins on everything below {format_tokens(min(known))} tokens; "
                f"{title} wins on everything from {format_tokens(max(known))} on"
            )
        elif known:
            parts.append(
                f"full attention wins on everything below {format_tokens(min(known))} tokens, and "
                f"on {' and '.join(never)} at any length"
            )
        else:
            parts.append("full attention wins at any length")
        if plan.full_longest_tokens is None:
            parts.append(f"not one token of {spec.name} fits with full attention")
        else:
            parts.append(f"full attention ends at {format_tokens(plan.full_longest_tokens)}")
        longest = plan.longest_tokens
        if mode == "train":
            parts.append(f"{title} {_reach(longest)}")
            checkpointed = plan.checkpointed_longest_tokens
            if longest is not None and checkpointed is not None and checkpointed > longest:
                parts.append(f"and with one checkpoint per segment {_reach(checkpointed)}")
        else:
            parts.append(f"{title} {_reach(longest)}")
        write_text(f"{_TITLES[mode].capitalize()}: {'; '.join(parts)}.")


def _write_sizes(by_size: dict[int, Plans], chosen: int) -> None:
    write_line()
    write_line("Another segment size (RMT needs less from ..., and fits up to ...)")
    rows = []
    for size, plans in by_size.items():
        for mode, plan in plans.items():
            rows.append(
                [
                    f"{size}{' *' if size == chosen else ''}",
                    _TITLES[mode],
                    _start(plan.fewer_flops_tokens),
                    _start(plan.less_memory_tokens),
                    _start(plan.less_time_tokens),
                    _limit(plan.longest_tokens),
                ]
            )
    write_table(["segment", "", "FLOPs", "memory", "time", "fits up to"], rows, text_columns=2)


def _start(tokens: int | None) -> str:
    return "never" if tokens is None else format_tokens(tokens)


def _limit(tokens: int | None) -> str:
    if tokens is None:
        return "does not fit"
    return f"over {format_count(tokens)}" if tokens >= LONGEST_TOKENS else format_tokens(tokens)


def _reach(tokens: int | None) -> str:
    if tokens is None:
        return "does not fit either"
    if tokens >= LONGEST_TOKENS:
        return f"has no end below {format_count(tokens)} tokens"
    return f"ends at {format_tokens(tokens)}"
