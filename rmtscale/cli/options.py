"""The options that several commands share, so that one name means one thing everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli.output import write_note
from rmtscale.errors import BadInput

OLD_OPTIONS = {
    "roll-in": "burn-in",
    "twins": "paired-noise",
    "measure-busy": "gpu-utilization",
    "dtype": "precision",
}
"""Names that options had in earlier releases: still taken by every command, not in its help."""

if TYPE_CHECKING:
    from rmtscale.costs.methods.method import Method as CostMethod
    from rmtscale.costs.time.constants import TimeConstants
    from rmtscale.profiler.fallback import CountedModel
    from rmtscale.specs.device import DeviceSpec
    from rmtscale.specs.model import ModelSpec
    from rmtscale.specs.recurrence import Recurrence


def complete_model(incomplete: str) -> list[str]:
    """Returns the presets that begin so; a shell asks for them."""
    from rmtscale.specs import catalog, current

    return [name for name in (*catalog.PRESETS, *current.PRESETS) if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Returns the devices and aliases that begin so; a shell asks for them."""
    from rmtscale.specs.devices import ALIASES, DEVICES

    return [name for name in (*DEVICES, *ALIASES, "auto") if name.startswith(incomplete.lower())]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Preset (see 'rmtscale models'), config.json, folder or hub name.",
        autocompletion=complete_model,
    ),
]
Tokens = Annotated[
    str,
    typer.Option(help="Text tokens of the input: a list such as 512,32k,2M; 512..2M doubles."),
]
SegmentSize = Annotated[
    str,
    typer.Option(help="What the backbone sees per recurrent step, memory tokens included."),
]
ChosenSegmentSize = Annotated[
    str,
    typer.Option(
        help="What the backbone sees per recurrent step, memory tokens included; auto recommends."
    ),
]
MemoryTokens = Annotated[int, typer.Option(help="Length of the recurrent state; 0 is allowed.")]
Method = Annotated[
    str,
    typer.Option(
        help="What stands against full attention: rmt, mamba, ... ('rmtscale compare' has all)."
    ),
]
Mode = Annotated[
    str, typer.Option(help="forward (inference) or train (forward, backward, optimizer step).")
]
BatchSize = Annotated[int, typer.Option(help="Sequences at once.")]
Precision = Annotated[
    str,
    typer.Option(
        help="fp32, tf32, bf16, fp16, amp-bf16, amp-fp16 or master-bf16.  [default: bf16; fp16 on "
        "a device without it]"
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--precision",
        help="fp32, bf16 or fp16, for weights and all else.  [default: bf16; fp16 on a device "
        "without it]",
    ),
]
Attention = Annotated[str, typer.Option(help="eager or sdpa.")]
Optimizer = Annotated[
    str,
    typer.Option(help="adamw, adamw-fused, adamw-8bit, adafactor, lion, muon, sgd or none."),
]
Accumulate = Annotated[int, typer.Option(help="Micro-batches before each optimizer step.")]
AdapterKind = Annotated[
    str, typer.Option("--adapter", help="Train only these: lora, qlora or parallel.")
]
AdapterRank = Annotated[int, typer.Option(help="Inner width of each adapter.")]
AdapterTargets = Annotated[
    str, typer.Option(help="LoRA: attention, all, or names such as q_proj,v_proj.")
]
OffloadOptimizer = Annotated[
    bool, typer.Option("--offload-optimizer", help="The optimizer is on the host.")
]
HostMemory = Annotated[str, typer.Option(help="Memory of the host, such as 512GiB.")]
Dropout = Annotated[
    bool, typer.Option("--dropout/--no-dropout", help="As the model's config has it, or none.")
]
BpttSegments = Annotated[
    int | None, typer.Option(help="RMT: segments a gradient flows back through. (default: all)")
]
Capture = Annotated[
    bool,
    typer.Option("--capture/--no-capture", help="RMT, train: whole steps captured."),
]
Compile = Annotated[bool, typer.Option("--compile", help="RMT, captured: full segments compiled.")]
CheckpointSegments = Annotated[
    bool, typer.Option("--checkpoint-segments", help="RMT: one activation checkpoint per segment.")
]
CheckpointLayers = Annotated[
    bool, typer.Option("--checkpoint-layers", help="One activation checkpoint per layer.")
]
Logits = Annotated[
    str,
    typer.Option(help="forward, full attention: logits of all tokens or the last (as RMT has)."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        help="GPU, see 'rmtscale devices'; auto: the one at hand.",
        autocompletion=complete_device,
    ),
]
Reserve = Annotated[
    str, typer.Option(help="Memory left to what else lives on the device, such as 2GiB.")
]
Weights = Annotated[
    str,
    typer.Option(
        help="Inference: int8, fp8, nf4, nf4-double or int4[:group]. (default: as the config says)"
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", help="What 'rmtscale calibrate --measure' wrote here."),
]
Breakdown = Annotated[bool, typer.Option("--breakdown", help="Show the terms of each total.")]
Format = Annotated[str, typer.Option("--format", "-f", help="table, json or csv.")]


def chosen_model(name: str, weights: str = "") -> ModelSpec:
    """Returns the shape of ``--model``; notes on what is left out go to standard error.

    Args:
        name: preset, config, folder or hub name.
        weights: how ``--weights`` stores them; as the model's config says where it is empty.

    Raises:
        BadInput: nothing of that name, a config that cannot be used, or weights that the model
            cannot have.
    """
    from rmtscale.specs.catalog import find_preset
    from rmtscale.specs.huggingface import read_model

    spec = find_preset(name)
    if spec is None:
        reading = read_model(name)
        spec = reading.spec
        notes = [f"{reading.class_name}, head: {reading.head}", *reading.notes]
        if spec.quantization is not None:
            notes.append(f"weights {spec.quantization.title}")
        for note in notes:
            write_note(f"note: {note}")
    if weights:
        from rmtscale.specs.quantization.reading import quantize

        spec = quantize(spec, weights)
    return spec


def trained(model: ModelSpec) -> ModelSpec:
    """Returns the model with plain weights, as it is trained, and says so where they were not."""
    if model.quantization is None:
        return model
    write_note(f"note: training takes plain weights, not {model.quantization.title}")
    return replace(model, quantization=None)


def chosen_device(name: str, reserve: str) -> DeviceSpec:
    """Returns the device of ``--device``, without what ``--reserve`` leaves to others.

    Raises:
        BadInput: no such device, or none at hand for ``auto``, or as much reserved as there is.
    """
    from rmtscale.records.at_hand import resolve_device
    from rmtscale.units import parse_bytes

    device = resolve_device(name)
    return device.reserving(parse_bytes(reserve, "reserve")) if reserve else device


def chosen_segment_size(text: str) -> int | None:
    """A segment size as it was given; None where one is to be recommended.

    Raises:
        BadInput: neither a size nor ``auto``.
    """
    from rmtscale.costs.segment_choice import AUTO
    from rmtscale.units import parse_size

    return None if text == AUTO else parse_size(text, "segment size")


def chosen_calibration(path: Path | None, device: DeviceSpec) -> TimeConstants | None:
    """Returns what ``--calibration`` names, if anything.

    Raises:
        BadInput: no calibration, or one of another device.
    """
    if path is None:
        return None
    from rmtscale.report.calibration import read_calibration

    return read_calibration(path, device)


def room(device: DeviceSpec) -> str:
    """Returns a device and what can be used of it: ``NVIDIA T4 (14.75 GiB usable)``."""
    from rmtscale.units import format_bytes

    held = f", {format_bytes(device.reserved_bytes)} reserved" if device.reserved_bytes else ""
    return f"{device.title} ({format_bytes(device.usable_memory_bytes)} usable{held})"


def counted_model(name: str, refused: BadInput) -> CountedModel:
    """Returns a model of a type without a row, counted on the real module.

    Raises:
        BadInput: as ``refused`` says, where the ``measure`` extra is not there; or why it cannot
            be built.
    """
    from rmtscale.specs.huggingface import find_config

    try:
        from rmtscale.profiler.fallback import count_model
    except ImportError:
        raise refused from None
    return count_model(find_config(name), name)


_SEGMENTS = (512, 10)
"""The defaults of the commands."""


Backbone = Annotated[
    str | None,
    typer.Option(
        help="Folder of the pretrained weights that a checkpoint of its trained part stands on."
    ),
]


def chosen_design(
    method: str, model: ModelSpec, recurrence: Recurrence
) -> tuple[str, Recurrence | CostMethod]:
    """Returns the title of ``--method``, and an RMT with the given segments or another method.

    Raises:
        BadInput: no such method, a backbone that cannot have it, or segments for a method that
            has none.
    """
    if method == "rmt":
        return "RMT", recurrence
    # Only now: an estimate of an RMT starts without the other methods.
    from rmtscale.costs.methods.catalog import find_method, with_segments

    plain = find_method(method, model)
    design = with_segments(plain, recurrence)
    if design == plain and (recurrence.segment_size, recurrence.memory_tokens) != _SEGMENTS:
        raise BadInput(
            f"segment size {recurrence.segment_size}, memory tokens {recurrence.memory_tokens}: "
            f"expected only with methods rmt and armt, not {method}"
        )
    return design.title, design


def described(title: str, design: Recurrence | CostMethod, model: ModelSpec) -> str:
    """Returns a line on what is compared: an RMT's segment, or the method's settings."""
    from rmtscale.specs.recurrence import Recurrence

    if isinstance(design, Recurrence):
        special = "" if model.decoder else " and special"
        return (
            f"RMT segment: {design.segment_size} tokens = {design.segment_tokens(model)} text "
            f"+ {design.overhead(model)} memory{special}"
        )
    from dataclasses import asdict

    fields = asdict(design).items()
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields)
    return f"{title}: {settings or 'no settings'} ({design.source})"
