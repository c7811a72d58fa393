"""Kernels of one rank's part of a layer and of the head, where a GPU's constants were measured.

A rank has a share of the heads, of the feed-forward's columns and of the vocabulary (``tp``), and a
share of the positions (``cp``): its matmuls, its attention and its streams are those of the real
modules at that size, as ``costs.time`` has them of one GPU.
With sequence parallelism norms and residuals see a share of the positions: all streams together
move what those of the whole layer move for that share.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.activations import fused_attention
from rmtscale.costs.layer_shape import LayerShape
from rmtscale.costs.time.constants import TENSOR, TimeConstants
from rmtscale.costs.time.device_time import Priced, price
from rmtscale.costs.time.host_time import started
from rmtscale.costs.time.kernels import Stream
from rmtscale.costs.time.optimizer_kernels import optimizer_kernels, trained_tensor_count
from rmtscale.costs.time.step_kernels import (
    BACKWARD,
    FORWARD,
    Part,
    has_kernels,
    layer_lists,
    layer_shape,
    pass_kernels,
)
from rmtscale.costs.time.stream_time import stream_seconds
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload


class Cut(NamedTuple):
    """One rank's part of a layer."""

    rows: int
    """Sequences at once."""
    size: int
    """Positions of a whole pass, over all ranks of context parallelism."""
    tp: int = 1
    cp: int = 1
    sequence_parallel: bool = False


class Spent(NamedTuple):
    """Seconds of a part of a step, on the device and on the host."""

    seconds: float
    """The device's; or of both where the host is counted in them already."""
    dense: float = 0.0
    """Those of dense work in 16 bits at the full rate, of which the power cap takes some."""
    host: float = 0.0

    def times(self, count: float) -> Spent:
        """Returns so many of it."""
        return Spent(*(count * one for one in self))

    def plus(self, more: Spent) -> Spent:
        """Returns both."""
        return Spent(*(a + b for a, b in zip(self, more, strict=True)))


NOTHING = Spent(0.0)


class RankLayer(NamedTuple):
    """One layer on a rank."""

    forward: Spent
    backward: Spent
    once: Spent
    """Casts of weights, once for all segments."""
    sums: Spent
    """Gradients added to those of another segment or micro-batch."""
    matmul: float
    """This and the next two are seconds of the forward pass."""
    attention: float
    stream: float


def is_known(model: ModelSpec, workload: Workload, part: Cut) -> bool:
    """Whether the kernels of a rank are known: dense layers that are alike."""
    if not has_kernels(model, workload, None):
        return False
    fused = fused_attention(model, workload)
    return not _shape(model, workload, part).experts and (fused or part.cp == 1)


@lru_cache(maxsize=4096)
def rank_layer(
    model: ModelSpec, workload: Workload, constants: TimeConstants, part: Cut
) -> RankLayer:
    """Returns the seconds of one layer on a rank; ``is_known`` says whether there are any."""
    work = _plain(workload, part)
    local = -(-part.size // part.cp)
    shape = _shape(model, workload, part)
    narrow = replace(
        shape,
        heads=shape.heads // part.tp,
        kv_heads=shape.kv_heads // part.tp,
        inner=shape.inner // part.tp,
    )
    lists = layer_lists(model, narrow, work, local)
    each = [price(one, work.dtype, constants) for one in lists[:2]]
    if part.cp > 1:  # a rank's queries see the keys of all
        whole = layer_lists(model, narrow, work, part.size)
        each = [
            one._replace(attention=price(kernels, work.dtype, constants).attention / part.cp)
            for one, kernels in zip(each, whole[:2], strict=True)
        ]
    if part.sequence_parallel:
        wide = layer_lists(model, shape, work, -(-local // part.tp))
        streams = [price(one, work.dtype, constants).stream for one in wide[:2]]
        each = [one._replace(stream=s) for one, s in zip(each, streams, strict=True)]
    priced = (*each, *(price(one, work.dtype, constants) for one in lists[2:]))
    phases = (FORWARD, BACKWARD, FORWARD, BACKWARD, BACKWARD)
    forward, backward, once, once_backward, sums = (
        _spent(one, Part(phase, kernels, 1), constants)
        for one, phase, kernels in zip(priced, phases, lists, strict=True)
    )
    return RankLayer(
        *(forward, backward, once.plus(once_backward), sums),
        *(each[0].matmul, each[0].attention, each[0].stream),
    )


@lru_cache(maxsize=4096)
def rank_outside(
    model: ModelSpec,
    workload: Workload,
    constants: TimeConstants,
    part: Cut,
    text: int,
    *,
    segment: bool,
) -> tuple[Spent, Spent]:
    """Returns what is outside the layers, head and loss among it, forward and backward.

    Args:
        text: positions that are scored, over all ranks of ``cp``.
        segment: whether it is a segment of an RMT.
    """
    work = _plain(workload, part)
    narrow = replace(model, vocabulary=-(-model.vocabulary // part.tp)) if part.tp > 1 else model
    local, scored = -(-part.size // part.cp), -(-text // part.cp)
    made = pass_kernels(narrow, work, local, scored, segment)
    forward, scored_once, backward, scored_back = (
        _spent(price(one.kernels, work.dtype, constants), one, constants)
        for one in (
            Part(FORWARD, made.forward, 1),
            Part(FORWARD, made.scored, 1),
            Part(BACKWARD, made.backward, 1),
            Part(BACKWARD, made.scored_backward, 1),
        )
    )
    back = backward.plus(scored_back) if work.train else NOTHING
    return forward.plus(scored_once), back


@lru_cache(maxsize=1024)
def whole_optimizer(
    model: ModelSpec, workload: Workload, constants: TimeConstants, memory_tokens: int
) -> Spent:
    """Returns what an optimizer takes over all weights."""
    kernels = optimizer_kernels(model, workload, memory_tokens)
    host = trained_tensor_count(model, workload, memory_tokens) * constants[TENSOR]
    seconds = sum(stream_seconds(one, constants) for one in kernels if isinstance(one, Stream))
    return Spent(seconds, 0.0, host)


def _plain(workload: Workload, part: Cut) -> Workload:
    return replace(
        workload,
        tokens=1,
        batch_size=part.rows,
        accumulate=1,
        checkpoint_layers=False,
        checkpoint_segments=False,
    )


def _shape(model: ModelSpec, workload: Workload, part: Cut) -> LayerShape:
    return layer_shape(model, workload, part.size)


def _spent(priced: Priced, part: Part, constants: TimeConstants) -> Spent:
    return Spent(_seconds(priced), priced.dense, started((part,), 0).seconds(constants))


def _seconds(priced: Priced) -> float:
    return priced.matmul + priced.attention + priced.stream
