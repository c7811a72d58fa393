"""Seconds of one layer on one rank: the place where a model of a device's time is asked.

Everything that knows how long arithmetic takes is behind ``layer_seconds`` and ``outer_seconds``.
Where the GPU's constants (``costs.time.constants``) were measured, a rank's part of a layer is
taken kernel by kernel (``rank_kernels``), as a step on one GPU is. From shares of a data sheet it
is taken as matmuls, attention and streams of its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from operator import add
from typing import NamedTuple

from rmtscale.costs.activations import fused_attention
from rmtscale.costs.conventions import pass_terms
from rmtscale.costs.layouts.float8 import RATE, Float8, cast_bytes
from rmtscale.costs.layouts.rank_kernels import (
    NOTHING,
    Cut,
    Spent,
    is_known,
    rank_layer,
    rank_outside,
    whole_optimizer,
)
from rmtscale.costs.layouts.recompute import BY_OPERATOR, layer_matmuls, made_again
from rmtscale.costs.operators import count_operators
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm, PassTerm
from rmtscale.costs.time.attention_time import HALF_RATE_WIDTH
from rmtscale.costs.time.constants import (
    ATTENTION,
    BACKWARD_OPERATOR,
    BANDWIDTH,
    FLOOR,
    FORWARD_OPERATOR,
    MATMUL,
    MISALIGNED,
    POWER,
    TimeConstants,
)
from rmtscale.costs.time.step_kernels import has_kernels
from rmtscale.costs.time.step_time import overlapped
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload

MATMUL_FLOORS = 3
"""Least time of a matmul, in those of a kernel."""
TILE_ROWS, TILE_COLUMNS = 128, 256
"""Output tile of a large matmul: the last wave of tiles leaves multiprocessors idle."""
PROCESSORS = {
    "a100-40gb": 108,
    "a100-80gb": 108,
    "a100-80gb-pcie": 108,
    "h100-sxm": 132,
    "h100-pcie": 114,
    "h100-nvl": 132,
    "h200": 132,
    "gh200": 132,
    "h20": 78,
    "v100-16gb": 80,
    "v100-32gb": 80,
}
"""Multiprocessors of a device, from the vendor's white papers; of others waves are not counted."""
OUTPUT_TRAFFIC = 0.87
"""Share of its output's traffic that a 16-bit matmul does not hide behind its arithmetic."""
OPTIMIZER_NUMBERS = 11
"""fp32 numbers that a fused AdamW moves for each weight."""
WIDE_PASSES, DROPOUT_PASSES = 14.0, 5.0
"""Times that a forward pass of one layer moves a tensor of model width: two norms (four each, at
half the bandwidth), two sums with the residual (three each); a dropout after each block besides."""
GATED_PASSES, PLAIN_PASSES = 5.0, 2.0
"""Passes over tensors of feed-forward width: activation, and with a gate the product."""
HEAD_PASSES = 3.0
"""Passes over queries, keys and values: positions, and the order of heads."""
SQUARE_DROPOUT = 2.5
_LAYER_OPERATORS = 40


class Reached(NamedTuple):
    """Shares of the vendor's peak that a device was measured to reach, and how it was run."""

    matmul: float
    attention: float
    """The share that fused attention reaches."""
    float8: Float8 | None = None
    """How the matmuls of the layers are cast to float8, which doubles their rate."""
    blocking: bool = False
    """Whether the host waits for each kernel (``CUDA_LAUNCH_BLOCKING``): its time adds up then."""


class LayerSeconds(NamedTuple):
    """One layer, without any communication."""

    forward: Spent
    backward: Spent
    again: Spent
    """Parts that the backward pass makes again."""
    attention: float
    """Seconds of the forward pass that are attention, which a ring hides its sends behind."""
    once: Spent = NOTHING
    """Casts of weights, once for all segments."""
    sums: Spent = NOTHING
    """Gradients added to those of another segment or micro-batch."""


@lru_cache(maxsize=16384)
def layer_seconds(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    cut: Cut,
    reached: Reached | None = None,
    recompute: str = "none",
    summed_bytes: int = 0,
) -> LayerSeconds:
    """Returns the seconds of one layer, forward and backward, without any communication.

    Args:
        workload: dtype, attention and dropout are read of it; its length and batch are the cut's.
        recompute: what of the layer is made again, as a layout says it.
        summed_bytes: moved for each weight where its gradient is added to another's.

    Raises:
        BadInput: the device has no peak for the dtype.
    """
    if constants.measured and reached is None and is_known(model, workload, cut):
        return _by_kernel(model, workload, constants, cut, recompute)
    matmuls = attention = again = weights = 0.0
    shares: Mapping[str, float] = {}
    if recompute in BY_OPERATOR:
        shares = made_again(model, recompute)
    fused = fused_attention(model, workload)
    for term in pass_terms("matmul", model, cut.size, cut.size):
        if not term.in_block or term.name in (FlopTerm.HEAD, FlopTerm.PROJECTION):
            continue
        if term.name in ATTENTION_TERMS:
            attention += _attention(model, workload, constants, cut, term, fused, reached)
        else:
            seconds = _matmul(workload, constants, cut, term, model.layers, reached)
            matmuls += seconds
            weights += term.weights / model.layers / cut.tp
            again += shares.get(term.name, 0.0) * seconds
    attention /= model.layers
    elementwise = _elementwise(model, workload, constants, cut)
    forward, backward = _operators(model, workload)
    casts = [0.0, 0.0]
    if reached is not None and reached.float8 is not None:
        tokens = cut.rows * cut.size / cut.cp
        moved = cast_bytes(model, reached.float8, tokens, cut.tp)
        casts = [one / constants[BANDWIDTH] for one in moved]
    device_forward = matmuls + attention + elementwise + casts[0]
    device_backward = 2 * matmuls + 2.5 * attention + 2 * elementwise + casts[1]
    both = overlapped if reached is None or not reached.blocking else add
    whole = both(forward * constants[FORWARD_OPERATOR], device_forward)
    if recompute in BY_OPERATOR:
        again += elementwise + casts[0]
    elif recompute == "selective":
        again = elementwise if fused else attention
    elif recompute == "full":
        again = whole
    back = both(backward * constants[BACKWARD_OPERATOR], device_backward)
    sums = Spent(weights * summed_bytes / constants[BANDWIDTH])
    return LayerSeconds(Spent(whole), Spent(back), Spent(again), attention, sums=sums)


def _by_kernel(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    cut: Cut,
    recompute: str,
) -> LayerSeconds:
    """Seconds of a layer, kernel by kernel, and what of it is made again."""
    made = rank_layer(model, workload, constants, cut)
    again, started = NOTHING, made.forward.host
    if recompute == "full":
        again = made.forward
    elif recompute == "selective":
        fused = fused_attention(model, workload)
        again = Spent(made.stream if fused else made.attention, 0.0, started)
    elif recompute in BY_OPERATOR:
        terms = {term.name: term.flops for term in pass_terms("matmul", model, 1, 1)}
        every = sum(terms[one.term] * one.share for one in layer_matmuls(model))
        shares = made_again(model, recompute)
        part = sum(terms[name] * share for name, share in shares.items()) / every
        again = Spent(made.stream + made.matmul * part, made.forward.dense * part, started)
    return LayerSeconds(made.forward, made.backward, again, made.attention, made.once, made.sums)


@lru_cache(maxsize=16384)
def outer_seconds(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    cut: Cut,
    text: int,
    reached: Reached | None = None,
    *,
    segment: bool = False,
) -> tuple[Spent, Spent]:
    """Returns the head and the loss over ``text`` positions, forward and backward.

    Args:
        segment: whether it is a segment of an RMT.
    """
    if constants.measured and reached is None and is_known(model, workload, cut):
        return rank_outside(model, workload, constants, cut, text, segment=segment)
    seconds = 0.0
    for term in pass_terms("matmul", model, cut.size, text):
        if term.name in (FlopTerm.HEAD, FlopTerm.PROJECTION):
            seconds += _matmul(workload, constants, cut, term, 1, reached)
    logits = cut.rows * text * model.vocabulary / (cut.tp * cut.cp)
    moved = logits * (2 * workload.dtype_bytes + 8) * (model.head == "language-model")
    forward = seconds + moved / constants[BANDWIDTH]
    return Spent(forward), Spent(2 * forward)


def optimizer_seconds(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    weights: int,
    share: float,
    memory_tokens: int,
) -> Spent:
    """Returns what an optimizer takes over so many weights of a rank, a share of all.

    From a data sheet they are those of a fused AdamW.
    """
    if constants.measured and has_kernels(model, workload, None):
        whole = replace(workload, tokens=1, batch_size=1)  # one object for all lengths
        every = whole_optimizer(model, whole, constants, memory_tokens)
        return every._replace(seconds=share * every.seconds)
    return Spent(OPTIMIZER_NUMBERS * 4 * weights / constants[BANDWIDTH])


def _matmul(
    workload: Workload,
    constants: TimeConstants,
    cut: Cut,
    term: PassTerm,
    times: int,
    reached: Reached | None,
) -> float:
    """Seconds of one of ``times`` equal matmuls, forward."""
    peak = sustained_rate(constants, workload.dtype)
    if reached is not None:
        peak = reached.matmul * constants.device.flops_per_second(workload.dtype)
        peak *= RATE if reached.float8 is not None and term.in_block else 1.0
    peak *= filled(constants.device, cut, term, times)
    bandwidth = constants[BANDWIDTH]
    flops = cut.rows * term.flops / (times * cut.tp * cut.cp)
    elements = cut.rows * term.elements / (times * cut.cp)
    moved = (elements + term.weights / times) / cut.tp * workload.dtype_bytes
    half = workload.dtype_bytes < 4
    # Output is about a half of the traffic that is not weights.
    output = elements / 2 / cut.tp * workload.dtype_bytes
    exposed = OUTPUT_TRAFFIC * output / bandwidth if half and term.operator != "bmm" else 0.0
    return float(MATMUL_FLOORS * constants[FLOOR] + max(flops / peak, moved / bandwidth) + exposed)


def _attention(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    cut: Cut,
    term: PassTerm,
    fused: bool,
    reached: Reached | None,
) -> float:
    """Seconds of one of both products of all layers, forward."""
    flops = cut.rows * term.flops / (cut.tp * cut.cp)
    if fused:
        rate = constants.rate(ATTENTION, workload.dtype)
        rate *= model.head_width / (model.head_width + HALF_RATE_WIDTH)
        if reached is not None:
            rate = reached.attention * constants.device.flops_per_second(workload.dtype)
        if model.decoder and term.causal:
            flops *= (cut.size + 1) / (2 * cut.size)
        return MATMUL_FLOORS * constants[FLOOR] * model.layers + float(flops / rate)
    dropout = workload.train and workload.dropout is not False and model.attention_dropout > 0
    more = SQUARE_DROPOUT / 2 if dropout else 0.0
    squares = cut.rows * (term.square + more * term.flops / (2 * model.head_width))
    moved = squares * workload.dtype_bytes / (cut.tp * cut.cp)
    rate = sustained_rate(constants, workload.dtype)
    if model.head_width % 8 and workload.dtype_bytes < 4:
        rate *= constants[MISALIGNED]
    return float(flops / rate + moved / constants[BANDWIDTH])


def sustained_rate(constants: TimeConstants, arithmetic: str) -> float:
    """Returns the FLOP/s of matmuls that a device keeps up for seconds."""
    hopper = constants.device.compute_capability == (9, 0)
    kept = constants[POWER] if hopper or constants.measured else 1.0
    return constants.rate(MATMUL, arithmetic) * kept


def filled(device: DeviceSpec, cut: Cut, term: PassTerm, times: int) -> float:
    """Returns the share of a matmul's waves of tiles that is filled, in its forward pass."""
    processors = PROCESSORS.get(device.name)
    if processors is None or not term.weights:
        return 1.0
    rows = cut.rows * cut.size / cut.cp
    # Of inner x columns = weights and inner + columns = elements per row.
    product, both = term.weights / times, term.elements / (times * cut.size)
    root = max(0.0, both * both / 4 - product) ** 0.5
    inner, columns = sorted((both / 2 - root, both / 2 + root))
    if term.name in (FlopTerm.DENSE_DOWN, FlopTerm.OUTPUT):
        inner, columns = columns, inner  # cut along its inner side
        columns *= cut.tp
    tiles = max(1.0, rows / TILE_ROWS) * max(1.0, columns / cut.tp / TILE_COLUMNS)
    waves = tiles / processors
    return float(waves / -(-waves // 1))


def _elementwise(model: ModelSpec, workload: Workload, constants: TimeConstants, cut: Cut) -> float:
    """Seconds of what is neither matmul nor attention of one layer, forward."""
    dropout = workload.train and workload.dropout is not False and model.hidden_dropout > 0
    wide = (WIDE_PASSES + DROPOUT_PASSES * dropout) * model.width
    if cut.sequence_parallel:
        wide /= cut.tp
    inner = (GATED_PASSES if model.gated_mlp else PLAIN_PASSES) * model.mlp_width
    heads = HEAD_PASSES * (model.query_width + 2 * model.kv_width)
    numbers = cut.rows * cut.size / cut.cp * (wide + (inner + heads) / cut.tp)
    return numbers * workload.dtype_bytes / constants[BANDWIDTH]


@lru_cache(maxsize=1024)
def _operators(model: ModelSpec, workload: Workload) -> tuple[float, float]:
    """Operators of one layer, forward and backward; the length does not matter."""
    if isinstance(model, LayeredSpec):
        return _LAYER_OPERATORS, 2 * _LAYER_OPERATORS
    short = replace(
        workload, tokens=8, batch_size=1, mode="forward", precision="bf16", cache=False,
        checkpoint_layers=False, checkpoint_segments=False, bptt_segments=None, accumulate=1,
        adapter=None, offload_optimizer=False,
    )  # fmt: skip
    forward = count_operators(model, short) / model.layers
    train = count_operators(model, replace(short, mode="train", optimizer="none")) / model.layers
    return forward, train - forward
