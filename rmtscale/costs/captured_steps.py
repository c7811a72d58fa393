"""Which steps run as one captured graph, and why others do not.

The RMT's inference runs segment by segment as captured graphs where it can. A training step does so
where ``capture_training()`` was called (``Workload.capture``): what the module refuses is refused
here, as far as a workload says it.
"""

from __future__ import annotations

from rmtscale.costs.design import Design
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

EAGER_KINDS = ("gpt_neo",)
"""Kinds whose modules copy numbers from the host in every layer, unless they are compiled."""


def captures_segments(model: ModelSpec, *, compiled: bool) -> bool:
    """Whether an RMT's segments can be captured: where it runs the backbone module by module."""
    return not isinstance(model, LayeredSpec) and (compiled or model.kind not in EAGER_KINDS)


def runs_captured(model: ModelSpec, workload: Workload, design: Design) -> bool:
    """Whether segments of a forward pass are captured: those of a decoder's RMT, where they can."""
    reads = model.decoder and not workload.train and isinstance(design, Recurrence)
    return reads and captures_segments(model, compiled=workload.compile_step)


def graph_streams(model: ModelSpec, workload: Workload, design: Design) -> int:
    """Streams that what is captured has run on besides the usual one.

    All graphs are captured on one. Each length of a forward pass's segments is warmed up on one of
    its own: the full segment's, and the shorter one's from its second time on.
    """
    if workload.train or not isinstance(design, Recurrence):
        return 2
    return 1 + len(design.segment_sizes(model, workload.tokens))


def trains_captured(model: ModelSpec, workload: Workload, design: Design) -> bool:
    """Whether a training step is captured: where it is asked for, and can be."""
    asked = workload.train and workload.capture and isinstance(design, Recurrence)
    return asked and not why_not_captured(model, workload)


def captures_too(model: ModelSpec, workload: Workload, design: Design) -> bool:
    """Whether a training step that is not asked to be captured could be."""
    eager = workload.train and not workload.capture and isinstance(design, Recurrence)
    return eager and not why_not_captured(model, workload)


def why_not_captured(model: ModelSpec, workload: Workload) -> str:
    """Says why a training step of an RMT would run eagerly; empty where it can be captured."""
    drops = workload.dropout is not False and bool(model.hidden_dropout or model.attention_dropout)
    if isinstance(model, LayeredSpec):
        return f"a backbone of type {model.kind!r} is run by its own forward"
    if model.kind in EAGER_KINDS:
        return "GPT-Neo copies numbers from the host in every layer"
    if workload.dtype == "fp16":
        return "in fp16 gradients are worked out under scales that are tried one after another"
    if workload.checkpoint_layers:
        return "one checkpoint per layer puts random numbers back by way of the host"
    if workload.checkpoint_segments and drops:
        return "with dropout a checkpoint puts random numbers back by way of the host"
    return ""
