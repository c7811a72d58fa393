"""Kernels of a whole step: every pass, forward and backward, and the optimizer's.

A step is a few lists of kernels, each run so many times; lists of equal passes are the same object,
so that what was worked out for one is remembered for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from rmtscale.costs.activations import eager_attention
from rmtscale.costs.layer_shape import LayerShape, plain_layer, taped_layers
from rmtscale.costs.lean_segment import runs_lean
from rmtscale.costs.passes import Pass, plan_passes
from rmtscale.costs.tape import Value
from rmtscale.costs.taped_layer import Training, training_of
from rmtscale.costs.time import around_layers as around
from rmtscale.costs.time.fused import fused
from rmtscale.costs.time.growing import Lengths, Listed
from rmtscale.costs.time.kernel_tape import KernelTape
from rmtscale.costs.time.kernels import Kernel, KernelList
from rmtscale.costs.time.layer_kernels import layer_kernels
from rmtscale.costs.time.lean_kernels import lean_kernels
from rmtscale.costs.time.optimizer_kernels import handed_out_kernels, optimizer_kernels
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"


class Part(NamedTuple):
    """A list of kernels that runs so many times."""

    phase: str
    kernels: Listed
    times: int
    captured: bool = False
    """Whether it is launched as part of a CUDA graph."""
    captured_later: bool = False
    """Whether it is so from the second time on that its length has come."""


class PassKernels(NamedTuple):
    """Kernels of one pass of the backbone."""

    forward: Listed
    """Outside the layers, the head apart."""
    backward: Listed
    layer: Listed
    first_backward: Listed
    """Backward pass of the first layer, whose input may want no gradient."""
    layer_backward: Listed
    scored: Listed
    scored_backward: Listed
    once: Listed
    once_backward: Listed
    sums: Listed
    layer_once: Listed
    layer_once_backward: Listed
    layer_sums: Listed


def has_kernels(model: ModelSpec, workload: Workload, recurrence: Recurrence | None) -> bool:
    """Whether the kernels of a model are known: of the six families, and of what is like Llama.

    Experts under autocast, of which they know nothing, are not.
    """
    if not isinstance(model, LayeredSpec):
        return True
    for run in plan_passes(model, workload, recurrence):
        found = taped_layers(model, run.size_tokens, eager=workload.attention == "eager")
        if found is None or (found[0].experts and workload.casts.autocast):
            return False
    return True


def step_kernels(
    model: ModelSpec,
    workload: Workload,
    recurrence: Recurrence | None = None,
    *,
    cuda_graph: bool = False,
) -> tuple[Part, ...]:
    """Everything that one pass or one training step launches.

    With ``cuda_graph`` every full segment of a forward pass of an RMT is captured, and the shorter
    first one is not before its length comes again; of a training step, all but the optimizer is.
    Full segments of plain GPT-2 are lean.

    Raises:
        BadInput: a segment that cannot be.
    """
    work = _kernel_work(workload.any_length())
    parts = list(_passes(model, workload, work, recurrence, cuda_graph))
    if workload.accumulate > 1:
        parts = [one._replace(times=one.times * workload.accumulate) for one in parts]
    if workload.train and cuda_graph:
        parts = [one._replace(captured=True) for one in parts]
    if workload.train:
        memory_tokens = 0 if recurrence is None else recurrence.memory_tokens
        if cuda_graph:
            out = handed_out_kernels(model, work, memory_tokens)
            parts.append(Part(OPTIMIZER, _optimizer_list(out), workload.accumulate))
        made = optimizer_kernels(model, work, memory_tokens)
        parts.append(Part(OPTIMIZER, _optimizer_list(made), 1))
    return tuple(one for one in parts if one.times and one.kernels.launched)


@lru_cache(maxsize=256)
def _optimizer_list(kernels: tuple[Kernel, ...]) -> KernelList:
    return KernelList(kernels)


def _passes(
    model: ModelSpec,
    workload: Workload,
    work: Workload,
    recurrence: Recurrence | None,
    cuda_graph: bool,
) -> Iterator[Part]:
    runs, in_passes = plan_passes(model, workload, recurrence), _in_passes(work)
    layers, reached = model.layers, sum(run.backward_runs for run in runs)
    windows = 1
    if recurrence is not None and workload.bptt_segments and model.decoder:
        windows = -(-reached // workload.bptt_segments)
    segment = recurrence is not None
    # A backbone that is run by its own forward may look at values on the host: no graph then.
    graph = cuda_graph and not isinstance(model, LayeredSpec)
    sums = (reached - 1) if segment else 0
    sums += workload.accumulate - 1
    for run in runs:
        overhead = run.size_tokens - run.text_tokens
        made = kernels_at(model, in_passes, run.size_tokens, overhead, segment)
        captured = graph and run.size_tokens == (recurrence.segment_size if recurrence else 0)
        later = graph and not captured and not workload.train
        if captured and workload.compile_step:
            made = _compiled(made)
        if captured and recurrence is not None and runs_lean(model, workload, recurrence):
            lean = lean_kernels(model, work, recurrence, compiled=workload.compile_step)
            yield Part(FORWARD, lean, run.runs, captured)
        else:
            yield Part(FORWARD, made.forward, run.runs, captured, later)
            yield Part(FORWARD, made.layer, run.runs * layers, captured, later)
        scored = run.runs
        if run.last and not (workload.train and model.decoder):
            yield Part(FORWARD, made.scored, 1)
            scored = 0
        elif not (workload.train and model.decoder):
            scored = 0
        yield Part(FORWARD, made.scored, scored)
        yield from _differentiated(model, workload, made, run)
        if run.last and workload.train:
            yield Part(FORWARD, made.once, windows)
            yield Part(FORWARD, made.layer_once, windows * layers)
            yield Part(BACKWARD, made.once_backward, windows)
            yield Part(BACKWARD, made.layer_once_backward, windows * layers)
            yield Part(BACKWARD, made.sums, sums)
            yield Part(BACKWARD, made.layer_sums, sums * layers)


@lru_cache(maxsize=256)
def _kernel_work(work: Workload) -> Workload:
    """Returns one object for all ways to run the same kernels."""
    return replace(work, accumulate=1, capture=False, compile_step=False)


@lru_cache(maxsize=256)
def _in_passes(work: Workload) -> Workload:
    """Returns the work with every setting at its usual value that changes no kernel of a pass."""
    return replace(
        work,
        optimizer="adamw",
        offload_optimizer=False,
        host_memory_bytes=None,
        cache=False,
        bptt_segments=None,
        checkpoint_segments=False,
        # With frozen weights it makes a gradient reach the first layer.
        checkpoint_layers=work.checkpoint_layers and work.adapter is not None,
    )


def _compiled(made: PassKernels) -> PassKernels:
    """Returns the blocks and the loss as a compiler makes them."""
    return made._replace(
        layer=fused(made.layer),
        first_backward=fused(made.first_backward),
        layer_backward=fused(made.layer_backward),
        scored=fused(made.scored),
        scored_backward=fused(made.scored_backward),
    )


def _differentiated(
    model: ModelSpec, workload: Workload, made: PassKernels, run: Pass
) -> Iterator[Part]:
    back, layers = run.backward_runs, model.layers
    if not back:
        return
    if workload.checkpoint_layers:
        yield Part(BACKWARD, made.layer, back * layers)
    elif workload.checkpoint_segments:
        yield Part(BACKWARD, made.forward, back)
        yield Part(BACKWARD, made.layer, back * layers)
    yield Part(BACKWARD, made.backward, back)
    yield Part(BACKWARD, made.first_backward, back)
    yield Part(BACKWARD, made.layer_backward, back * (layers - 1))
    scored = back if model.decoder else int(run.last)
    yield Part(BACKWARD, made.scored_backward, scored)


@lru_cache(maxsize=512)
def kernels_at(
    model: ModelSpec, work: Workload, size: int, overhead: int, segment: bool
) -> PassKernels:
    """Returns what ``pass_kernels`` does, from tapes of a few other lengths where these tell."""
    grown = _lengths(model, work, overhead, segment).at(size)
    if grown is None:
        return pass_kernels(model, work, size, size - overhead, segment)
    return PassKernels._make(grown)


@lru_cache(maxsize=256)
def _lengths(model: ModelSpec, work: Workload, overhead: int, segment: bool) -> Lengths:
    def made(size: int) -> PassKernels | None:
        if isinstance(model, LayeredSpec):
            found = taped_layers(model, size, eager=work.attention == "eager")
            # Rows are shared out among the experts of a mixture, in whole numbers.
            if found is None or found[0].experts:
                return None
        return pass_kernels(model, work, size, size - overhead, segment)

    return Lengths(made, overhead)


def pass_kernels(
    model: ModelSpec, workload: Workload, size: int, text: int, segment: bool
) -> PassKernels:
    """Returns the kernels of one pass over ``size`` positions, ``text`` of which are text.

    Args:
        segment: whether it is a segment of an RMT.
    """
    casts, batch, train = workload.casts, workload.batch_size, workload.train
    shape = layer_shape(model, workload, size)
    training = training_of(model, casts, workload.adapter)
    if not train:
        training = replace(training, trained=False)
    reached = train and (training.trained or segment or workload.checkpoint_layers)
    layer = _listed_layer(shape, training, workload, size, train)
    first = layer if reached == train else _listed_layer(shape, training, workload, size, False)
    before, head = KernelTape(casts), KernelTape(casts)
    hidden = around.embed(before, model, shape, training, batch, size, segment=segment)
    hidden = Value(hidden.numbers, hidden.width, train, hidden.storage)
    hidden = around.last_norm(before, model, shape, training, hidden, batch * size)
    rows = batch * text
    if model.head == "classification":
        around.classified(head, model, training, hidden, batch, train)
    elif not train:
        kept = rows if workload.logits == "all" and not segment else batch
        around.logits_of(head, model, training, kept, hidden.width)
    elif segment:
        around.scored_by_segment(head, model, training, hidden, rows)
    else:
        around.scored_at_once(head, model, training, hidden, rows)
    return PassKernels(
        forward=_listed(before.forward),
        backward=_listed(before.backward),
        layer=layer.forward,
        first_backward=first.backward,
        layer_backward=layer.backward,
        scored=_listed(head.forward),
        scored_backward=_listed(head.backward),
        once=_listed(before.once, head.once),
        once_backward=_listed(before.once_backward, head.once_backward),
        sums=_listed(before.gradient_sums, head.gradient_sums),
        layer_once=layer.once,
        layer_once_backward=layer.once_backward,
        layer_sums=layer.sums,
    )


def layer_shape(model: ModelSpec, workload: Workload, size: int) -> LayerShape:
    """Returns the layer that a model consists of; ``has_kernels`` says whether there is one."""
    if isinstance(model, LayeredSpec):
        found = taped_layers(model, size, eager=workload.attention == "eager")
        assert found is not None, "asked for where kernels are known only"
        return found[0]
    dropout = workload.train and workload.dropout is not False
    return plain_layer(model, eager=eager_attention(model, workload), dropout=dropout)


class _Layer(NamedTuple):
    forward: KernelList
    backward: KernelList
    once: KernelList
    once_backward: KernelList
    sums: KernelList


@lru_cache(maxsize=512)
def _listed_layer(
    shape: LayerShape, training: Training, precision: Workload, size: int, grad: bool
) -> _Layer:
    made = layer_kernels(shape, training, precision.casts, precision.batch_size, size, grad)
    return _Layer(
        *(
            _listed(one)
            for one in (
                *(made.forward, made.backward),
                *(made.once, made.once_backward, made.gradient_sums),
            )
        )
    )


def layer_lists(
    model: ModelSpec, shape: LayerShape, workload: Workload, size: int
) -> tuple[KernelList, KernelList, KernelList, KernelList, KernelList]:
    """Returns what a layer launches that has another shape than the model's: a rank's part of it.

    Forward, backward, both once for all segments of a window, and sums of gradients.
    """
    training = replace(training_of(model, workload.casts, None), trained=workload.train)
    return _listed_layer(shape, training, workload, size, workload.train)


def _listed(*kernels: Iterable[Kernel]) -> KernelList:
    return KernelList(tuple(one for some in kernels for one in some))
