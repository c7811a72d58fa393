"""The public functions, which take what the command line takes: names and sizes as text.

>>> from rmtscale import api
>>> api.estimate_flops("gpt2", tokens="16k").total == api.estimate_flops("gpt2", 16_000).total
True

A model may be a name, a config file (text or a path) or a ``ModelSpec``; a device a name (``auto``
is the GPU at hand) or a ``DeviceSpec``; a workload its tokens (``16_000``, ``"16k"``) or a
``Workload``, with any of its fields as arguments beside it; a recurrence a segment size, the name
of a method, or a ``Recurrence`` or ``Method``. Without a precision it is bf16, or fp16 on a device
that has no bf16; a ``Workload`` or ``Generation`` made before knows no device, and says bf16.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeAlias, TypeVar

from rmtscale.costs import comparison as comparisons
from rmtscale.costs import flops, generation, memory, method_estimates, parameters, plan, roofline
from rmtscale.costs import weights as stored_weights
from rmtscale.costs.breakdown import Breakdown
from rmtscale.costs.comparison import Comparison, select_methods
from rmtscale.costs.conventions import DEFAULT_CONVENTION
from rmtscale.costs.design import Design
from rmtscale.costs.estimate import Estimate, answer
from rmtscale.costs.generation import GenerationCost
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.memory import PeakMemory
from rmtscale.costs.method_estimates import MethodEstimate
from rmtscale.costs.methods.catalog import find_method, with_segments
from rmtscale.costs.methods.method import Method
from rmtscale.costs.plan import Plan
from rmtscale.costs.question import Question
from rmtscale.costs.roofline import TimeEstimate
from rmtscale.costs.segment_choice import AUTO
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.errors import BadInput, quoted_list
from rmtscale.records.at_hand import resolve_device
from rmtscale.specs.defaults import default_precision
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.quantization import reading
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import parse_bytes, parse_size, require_positive

Thing = TypeVar("Thing")
Size: TypeAlias = int | str
"""A number of tokens: ``16_000`` or ``"16k"``."""
AnyModel: TypeAlias = ModelSpec | str | os.PathLike[str]
AnyDevice: TypeAlias = DeviceSpec | str
AnyWorkload: TypeAlias = Workload | int | str | None
AnyDesign: TypeAlias = Design | int | str
AnyMethods: TypeAlias = Sequence[Method | str] | str


def estimate(
    model: AnyModel,
    device: AnyDevice,
    workload: AnyWorkload = None,
    *,
    mode: str = "prefill",
    new_tokens: Size = 1000,
    segment_size: Size = AUTO,
    memory_tokens: int = 10,
    weights: str = "",
    kv_dtype: str | None = None,
    reserve: Size | None = None,
    calibration: TimeConstants | None = None,
    **settings: Any,
) -> Estimate:
    """Does it fit, how long does it take, and what would change that? As ``rmtscale estimate``.

    Raises:
        BadInput: a value that is not known or cannot be; the message names it and those accepted.
    """
    spec, gpu = _model(model), _device(device)
    if weights:
        spec = quantize(spec, weights)
    if not isinstance(workload, Workload):
        settings["mode"] = "train" if mode == "train" else "forward"
    if reserve:
        held = parse_bytes(reserve, "reserve") if isinstance(reserve, str) else reserve
        gpu = gpu.reserving(held)
    return answer(
        Question(
            model=spec,
            device=gpu,
            workload=_workload(workload, settings, gpu),
            mode=mode,
            new_tokens=_size(new_tokens, "new tokens"),
            kv_dtype=kv_dtype,
            segment_size=None if segment_size == AUTO else _size(segment_size, "segment size"),
            memory_tokens=memory_tokens,
            calibration=calibration,
        )
    )


def estimate_flops(
    model: AnyModel,
    workload: AnyWorkload = None,
    recurrence: AnyDesign = None,
    convention: str = DEFAULT_CONVENTION,
    **settings: Any,
) -> Breakdown:
    """FLOPs of one workload, as terms that sum to the total.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    spec, work = _model(model), _workload(workload, settings)
    return flops.estimate_flops(spec, work, _design(recurrence, spec), convention)


def estimate_memory(
    model: AnyModel,
    workload: AnyWorkload = None,
    recurrence: AnyDesign = None,
    device: AnyDevice | None = None,
    *,
    cuda_graph: bool | None = None,
    **settings: Any,
) -> PeakMemory:
    """Peak allocated bytes of one workload, as terms that sum to the peak.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    gpu = None if device is None else _device(device)
    spec, work = _model(model), _workload(workload, settings, gpu)
    design = _design(recurrence, spec)
    return memory.estimate_memory(spec, work, design, gpu, cuda_graph=cuda_graph)


def estimate_time(
    model: AnyModel,
    workload: AnyWorkload = None,
    device: AnyDevice = "",
    recurrence: AnyDesign = None,
    **settings: Any,
) -> TimeEstimate:
    """A lower bound of the seconds that one workload takes on a device, by the roofline.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    spec, gpu = _model(model), _device(device)
    work = _workload(workload, settings, gpu)
    return roofline.estimate_time(spec, work, gpu, _design(recurrence, spec))


def estimate_generation(
    model: AnyModel,
    generation_: Generation | Size,
    device: AnyDevice,
    recurrence: Recurrence | int | None = None,
    **settings: Any,
) -> GenerationCost:
    """Prefill and decode: FLOPs, bytes, seconds, what is held, and the batch that fits.

    Args:
        model: the model.
        generation_: a ``Generation``, or the tokens of its prompt with other fields beside it
            (``new_tokens`` is 1,000 unless given).
        device: the device.
        recurrence: an RMT, or its segment size; None is full attention.
        settings: fields of ``Generation``.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    spec, gpu = _model(model), _device(device)
    if isinstance(generation_, Generation):
        work = replace(generation_, **_known(Generation, settings))
    else:
        usual: dict[str, Any] = {"new_tokens": 1000, "dtype": default_precision(gpu)}
        given = usual | _known(Generation, settings)
        work = Generation(context_tokens=_size(generation_, "context"), **given)
    design = Recurrence(recurrence) if isinstance(recurrence, int) else recurrence
    if design is not None:
        _one_of(design, "recurrence", "a segment size, a Recurrence or None", Recurrence)
    return generation.estimate_generation(spec, work, gpu, design)


def make_plan(
    model: AnyModel,
    workload: AnyWorkload = 1,
    recurrence: AnyDesign = 512,
    device: AnyDevice = "",
    convention: str = DEFAULT_CONVENTION,
    calibration: TimeConstants | None = None,
    **settings: Any,
) -> Plan:
    """The lengths at which RMT and full attention change places on a device.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    spec, gpu = _model(model), _device(device)
    work, design = _workload(workload, settings, gpu), _design(recurrence, spec)
    return plan.make_plan(spec, work, design, gpu, convention, calibration)


def count_parameters(model: AnyModel) -> Breakdown:
    """Parameters by where they are, as terms that sum to the total.

    Raises:
        BadInput: no such model.
    """
    return parameters.count_parameters(_model(model))


def estimate_method(
    model: AnyModel, tokens: Any, method: Method | str, dtype: str = "bf16"
) -> MethodEstimate:
    """FLOPs, state and activations of a method at one length, or at many at once.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    lengths = _size(tokens, "tokens") if isinstance(tokens, str) else tokens
    chosen = method if isinstance(method, str) else _method(method)
    return method_estimates.estimate_method(_model(model), lengths, chosen, dtype)


def compare_methods(
    model: AnyModel,
    methods: AnyMethods,
    tokens: Sequence[Size] | Size,
    dtype: str = "bf16",
) -> Comparison:
    """Every method at every length, and where any two of them change places.

    Args:
        methods: names, as a list or in one text (``"full,rmt"``, ``"all"``), or methods.

    Raises:
        BadInput: a value that is not known or cannot be.
    """
    spec = _model(model)
    expected = "names such as 'full,rmt', or a list of names or methods"
    listed = _one_of(methods, "methods", expected, Sequence)
    chosen = dict.fromkeys(
        one
        for each in ([listed] if isinstance(listed, str) else listed)
        for one in (
            select_methods(each, spec, Recurrence()) if isinstance(each, str) else [_method(each)]
        )
    )
    lengths = _one_of(tokens, "tokens", "a length or a list of lengths", int, Iterable)
    lengths = [lengths] if isinstance(lengths, int | str) else lengths
    sizes = [_size(length, "tokens") for length in lengths]
    return comparisons.compare_methods(spec, list(chosen), sizes, dtype)


def quantize(model: AnyModel, weights: str) -> ModelSpec:
    """The model with all linear layers but its head stored as ``weights`` says, for inference.

    Args:
        model: one whose weights are plain.
        weights: ``int8``, ``fp8``, ``nf4``, ``nf4-double``, or ``int4`` with or without a group
            size: ``int4:64``.

    Raises:
        BadInput: another name, a group that does not divide a width, a model that is stored in
            fewer bits already or whose linear layers are not known.
    """
    named = _one_of(weights, "weights", "a name such as 'int8' or 'int4:64'", str)
    return reading.quantize(_model(model), named)


def weight_bytes(model: AnyModel, dtype_bytes: int) -> int:
    """Bytes of all weights; a tied head counts once.

    Args:
        dtype_bytes: of each weight that is not quantised.

    Raises:
        BadInput: no such model, or no whole number of bytes.
    """
    require_positive("dtype bytes", dtype_bytes)
    return stored_weights.weight_bytes(_model(model), dtype_bytes)


def _model(model: AnyModel) -> ModelSpec:
    if isinstance(model, str | os.PathLike):
        return resolve_model(os.fspath(model))
    return _one_of(model, "model", "a name, a config file or a ModelSpec", ModelSpec)


def _device(device: AnyDevice) -> DeviceSpec:
    if isinstance(device, str):
        return resolve_device(device)
    return _one_of(device, "device", "a name or a DeviceSpec", DeviceSpec)


def _method(method: Method) -> Method:
    return _one_of(method, "method", "a name or a Method", Method)


def _one_of(value: Thing, name: str, expected: str, *kinds: type) -> Thing:
    """The value, where it is of one of the kinds.

    Raises:
        BadInput: it is of none.
    """
    if not isinstance(value, kinds):
        raise BadInput(f"{name} of type {type(value).__name__}: expected {expected}")
    return value


def _size(size: Size, name: str) -> int:
    return parse_size(size, name) if isinstance(size, str) else size


_OLD_SETTINGS = {"dtype": "precision"}
"""Names that settings of a workload had in earlier releases."""


def _known(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, all of which are fields of a dataclass; sizes may be text."""
    names = [field.name for field in fields(kind)]
    for name in settings:
        if name not in names:
            raise BadInput(f"setting {name!r}: expected {quoted_list(names)}")
    sizes = ("tokens", "context_tokens", "new_tokens", "prefill_chunk")
    return {
        name: _size(value, name.replace("_", " ")) if name in sizes else value
        for name, value in settings.items()
    }


def _workload(
    workload: AnyWorkload, settings: dict[str, Any], device: DeviceSpec | None = None
) -> Workload:
    settings = {_OLD_SETTINGS.get(name, name): value for name, value in settings.items()}
    known = _known(Workload, settings)
    if isinstance(workload, Workload):
        return replace(workload, **known)
    known.setdefault("precision", default_precision(device))
    if workload is not None:
        known["tokens"] = _size(workload, "tokens")
    if "tokens" not in known:
        raise BadInput("tokens: expected a length such as 16_000 or '16k'")
    return Workload(**known)


def _design(design: AnyDesign, model: ModelSpec) -> Design:
    """The design of a segment size, or of a name; ``full`` is None."""
    if isinstance(design, bool) or (isinstance(design, str) and design.isdigit()):
        design = int(design)
    if isinstance(design, int):
        return Recurrence(design)
    if isinstance(design, str):
        return with_segments(find_method(design, model), Recurrence())
    expected = "a segment size, the name of a method, a Recurrence, a Method or None"
    return None if design is None else _one_of(design, "recurrence", expected, Recurrence, Method)
