"""``rmtscale plan``: full attention or RMT (or another method), on a device, by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.costs.breakeven import LONGEST_TOKENS
from rmtscale.costs.calibration import Calibration
from rmtscale.costs.conventions import CONVENTIONS, DEFAULT_CONVENTION
from rmtscale.costs.plan import Plan, make_plan
from rmtscale.costs.segment_choice import AUTO, possible_segment_sizes, recommend_segment
from rmtscale.costs.weights import require_weights, weight_bytes
from rmtscale.errors import BadInput
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import find_precision
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes, format_count, format_tokens, parse_size, require_one_of

if TYPE_CHECKING:
    from rmtscale.costs.methods.method import Method as CostMethod

_TITLES = {"prefill": "prefill", "train": "training", "forward": "one pass"}
_LIMITS = (
    "full_longest_tokens",
    "full_checkpointed_longest_tokens",
    "longest_tokens",
    "checkpointed_longest_tokens",
)
_REFERENCE_TOKENS = 65_536
"""The length at which a segment size is recommended: a plan is about all lengths."""
Plans = dict[str, Plan]


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
    dropout: options.Dropout = True,
    bptt_segments: options.BpttSegments = None,
    convention: Annotated[
        str,
        typer.Option(
            help=f"How FLOPs are counted: {', '.join(CONVENTIONS)}.  [default: hoffmann; matmul "
            "for methods other than rmt]"
        ),
    ] = "",
    calibration: options.CalibrationFile = None,
    reserve: options.Reserve = "",
    output_format: options.Format = "table",
) -> None:
    """From which length RMT is worth it over full attention, and where each runs out of memory.

    Example: rmtscale plan --model gpt2 --device a100-80gb
    """
    require_format(output_format)
    require_one_of("mode", mode, (*_TITLES, "all", "both"))
    convention = convention or (DEFAULT_CONVENTION if method == "rmt" else "matmul")
    require_one_of("convention", convention, CONVENTIONS)
    spec, gpu = options.chosen_model(model, weights), options.chosen_device(device, reserve)
    precision = precision or default_precision(gpu)
    calibrated = options.chosen_calibration(calibration, gpu, precision)
    modes = _modes(spec, mode)
    by_mode = _by_mode(spec, modes, asked=bool(weights))

    def work(mode: str) -> Workload:
        return Workload(
            tokens=_REFERENCE_TOKENS,
            batch_size=batch_size,
            mode="train" if mode == "train" else "forward",
            cache=mode == "prefill",
            precision=precision,
            attention=attention,
            optimizer=optimizer,
            dropout=None if dropout else False,
            bptt_segments=bptt_segments if mode == "train" else None,
        )

    reason = ""
    if segment_size == AUTO:
        asked = work("train" if "train" in modes else modes[0])
        chosen, reason = recommend_segment(by_mode.get("train", spec), asked, memory_tokens, gpu)
    else:
        chosen = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    title, design = options.chosen_design(method, spec, chosen)
    segmented = design is chosen
    if segmented:
        chosen.segment_tokens(spec)

    def plans(design: Recurrence | CostMethod) -> Plans:
        return {
            name: make_plan(by_mode[name], work(name), design, gpu, convention, calibrated)
            for name in modes
        }

    possible = possible_segment_sizes(spec, memory_tokens) if segmented else ()
    sizes = sorted({*possible, chosen.segment_size})
    by_size = {
        size: plans(Recurrence(size, memory_tokens) if segmented else design) for size in sizes
    }
    if output_format != "table":
        write_rows(
            [
                {"model": spec.name, "method": method, "device": gpu.name, "mode": name}
                | {"precision": precision, "memory_tokens": memory_tokens if segmented else None}
                | {"convention": convention, "time": _time_by(calibrated)}
                | {
                    "weight_bytes": weight_bytes(
                        by_mode[name], find_precision(precision).weight_bytes
                    )
                }
                | _open_ended(asdict(plan))
                for size_plans in by_size.values()
                for name, plan in size_plans.items()
            ],
            output_format,
        )
        return
    mine = by_size[chosen.segment_size]
    write_line(f"{spec.name} on {options.room(gpu)}{_stored(spec, precision)}")
    settings = f"{precision}, {attention}, batch size {batch_size}, {optimizer}"
    if segmented:
        write_line(
            f"{settings}; RMT segment {chosen.segment_size} = {chosen.segment_tokens(spec)} text "
            f"+ {chosen.overhead(spec)} memory" + ("" if spec.decoder else " and special")
        )
    else:
        write_line(settings)
        write_text(options.described(title, design, spec))
    if reason:
        write_text(f"Segment size {chosen.segment_size} is recommended: {reason}.")
    _write_answers(mine, convention, title if segmented else method, calibrated, timed=gpu.timed)
    _write_words(spec, mine, title if segmented else method, calibrated, timed=gpu.timed)
    if len(sizes) > 1:
        _write_sizes(by_size, chosen.segment_size, calibrated, timed=gpu.timed)
    if "forward" in modes and "prefill" in modes:
        write_text("One pass keeps nothing of the text: nothing can be written behind it.")
    time = (
        "a roofline: without the host, which slows short segments down, and the efficiency of "
        "kernels, so RMT may be faster only later than it says, or never"
        if calibrated is None
        else "calibrated by measured records; an RMT's inference runs captured"
    )
    if not gpu.timed:
        time = f"not known on {gpu.name}"
    memory = "tensors and library workspaces" if gpu.library_workspace_bytes else "tensors alone"
    write_text(f"Predicted. Time is {time}. Memory is that of {memory}.")
    if isinstance(spec, LayeredSpec) and not spec.written_like:
        write_text(
            f"Memory is an upper bound, not confirmed: no device has measured a {spec.kind}."
        )


def _by_mode(spec: ModelSpec, modes: Sequence[str], *, asked: bool) -> dict[str, ModelSpec]:
    """Returns the model of each mode: what is trained has plain weights.

    Raises:
        BadInput: quantised weights that were asked for, of training alone.
    """
    if asked and list(modes) == ["train"]:
        require_weights(spec, None, train=True)
    return {name: options.trained(spec) if name == "train" else spec for name in modes}


def _stored(spec: ModelSpec, precision: str) -> str:
    """Says on a line of its own how the weights are stored, where they are quantised."""
    if spec.quantization is None:
        return ""
    stored = format_bytes(weight_bytes(spec, find_precision(precision).weight_bytes))
    return f"\nweights {stored} in inference: {spec.quantization.title}"


def _modes(spec: ModelSpec, mode: str) -> tuple[str, ...]:
    """The modes to plan: what has an encoder has no prefill."""
    keeps = spec.decoder and not (isinstance(spec, LayeredSpec) and spec.encoder_groups)
    if mode == "prefill" and not keeps:
        raise BadInput(f"mode 'prefill': {spec.name} writes no text, expected forward or train")
    if mode not in ("all", "both"):
        return (mode,)
    return tuple(_TITLES) if keeps else ("forward", "train")


def _open_ended(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which a search that ended before the length did is null and marked so."""
    ended = {f"{name}_search_ended": row[name] == LONGEST_TOKENS for name in _LIMITS}
    return row | {name: None for name in _LIMITS if row[name] == LONGEST_TOKENS} | ended


def _time_by(calibrated: Calibration | None) -> str:
    return "roofline" if calibrated is None else "calibrated"


def _write_answers(
    plans: Plans, convention: str, title: str, calibrated: Calibration | None, *, timed: bool
) -> None:
    time = "(calibrated) from" if calibrated else "not before"
    questions = {
        f"{title} needs fewer FLOPs ({convention}) from": "fewer_flops_tokens",
        f"{title} needs less memory from": "less_memory_tokens",
        "  both with activation checkpoints": "less_memory_checkpointed_tokens",
        **({f"{title} needs less time {time}": "less_time_tokens"} if timed else {}),
        "full attention fits up to": "full_longest_tokens",
        "  with one checkpoint per layer up to": "full_checkpointed_longest_tokens",
        f"{title} fits up to": "longest_tokens",
        "  with one checkpoint per segment up to": "checkpointed_longest_tokens",
    }
    rows = []
    for question, field in questions.items():
        show = _limit if field in _LIMITS else _start
        cells = [
            ""
            if "checkpointed" in field and (mode != "train" or plan.segment_size is None)
            else show(getattr(plan, field))
            for mode, plan in plans.items()
        ]
        if any(cells):
            rows.append([question, *cells])
    write_table(["tokens", *(_TITLES[mode] for mode in plans)], rows, text_columns=1)


def _write_words(
    spec: ModelSpec, plans: Plans, title: str, calibrated: Calibration | None, *, timed: bool
) -> None:
    """The answer in a sentence for each mode: where RMT needs less, and where each one ends."""
    for mode, plan in plans.items():
        if mode == "forward" and "prefill" in plans:
            continue
        parts = [
            f"{title} needs {_from('fewer FLOPs', plan.fewer_flops_tokens)}, "
            f"{_from('less memory', plan.less_memory_tokens)}"
        ]
        if timed and calibrated is not None:
            start = _from("less time", plan.less_time_tokens)
            parts[0] += f", and {start}, as the calibration predicts"
        elif timed:
            start = _start(plan.less_time_tokens)
            parts[0] += (
                f", and less time not before {start}"
                if plan.less_time_tokens
                else (", and no less time at any length")
            )
        if plan.full_longest_tokens is None:
            parts.append(f"not one token of {spec.name} fits with full attention")
        else:
            parts.append(f"full attention {_reach(plan.full_longest_tokens)}")
        parts += _further(plan.full_longest_tokens, plan.full_checkpointed_longest_tokens, "layer")
        parts.append(f"{title} {_reach(plan.longest_tokens)}")
        parts += _further(plan.longest_tokens, plan.checkpointed_longest_tokens, "segment")
        write_text(f"{_TITLES[mode].capitalize()}: {'; '.join(parts)}.")


def _from(what: str, tokens: int | None) -> str:
    if tokens is None:
        return f"no {what} at any length"
    return f"{what} from {format_tokens(tokens)} tokens on"


def _further(longest: int | None, checkpointed: int | None, each: str) -> list[str]:
    """How much further activation checkpoints reach, where they do."""
    if checkpointed is None or (longest is not None and checkpointed <= longest):
        return []
    return [f"with one checkpoint per {each} it {_reach(checkpointed)}"]


def _write_sizes(
    by_size: dict[int, Plans], chosen: int, calibrated: Calibration | None, *, timed: bool
) -> None:
    write_line()
    write_line("Another segment size (RMT needs less from ..., and fits up to ...)")
    rows = []
    for size, plans in by_size.items():
        for mode, plan in plans.items():
            if mode == "forward" and "prefill" in plans:
                continue
            rows.append(
                [
                    f"{size}{' *' if size == chosen else ''}",
                    _TITLES[mode],
                    _start(plan.fewer_flops_tokens),
                    _start(plan.less_memory_tokens),
                    *([_start(plan.less_time_tokens)] if timed else []),
                    _limit(plan.longest_tokens),
                    _limit(plan.checkpointed_longest_tokens) if mode == "train" else "",
                ]
            )
    time = ["time" if calibrated else "time, not before"] if timed else []
    columns = ["segment", "", "FLOPs", "memory", *time, "fits up to", "checkpointed"]
    write_table(columns, rows, text_columns=2)


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
