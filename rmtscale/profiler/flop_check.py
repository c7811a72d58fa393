"""Holds the ``matmul`` convention against torch's FLOP counter on the real modules.

The modules are built on ``meta``: shapes without memory, so that OPT-175B is counted on a laptop.
Attention is eager there, because a fused kernel on the CPU is counted as nothing by some torch
versions; the matmuls are the same.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.passes import require_in_table
from rmtscale.errors import BadInput, reason_of
from rmtscale.profiler.real_module import (
    CONVOLUTIONS,
    matmul_flops,
    real_flops,
    real_language_model,
    real_parameters,
    values_of_meta,
    without_dropout,
)
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import Reading
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


@dataclass(frozen=True, slots=True)
class FlopCheck:
    """Predicted and counted FLOPs, per aten operator."""

    method: str
    predicted_flops: dict[str, int]
    counted_flops: dict[str, int]

    @property
    def equal(self) -> bool:
        """Equal as integers, operator by operator."""
        return self.predicted_flops == self.counted_flops


class ParameterCheck(NamedTuple):
    """Parameters predicted, and counted on the real module."""

    predicted: int
    counted: int


def real_build(reading: Reading) -> Callable[[], nn.Module]:
    """How to build the real module: from the user's own config, or of a preset from its shape."""
    config = reading.config
    if config is None:
        return lambda: build_backbone(reading.spec)
    return lambda: real_language_model(config, reading.class_name, reading.spec.name)


def check_parameters(spec: ModelSpec, build: Callable[[], nn.Module]) -> ParameterCheck:
    """Parameters of the shape and of the module."""
    return ParameterCheck(count_parameters(spec).total, real_parameters(build()))


def check_flops(
    spec: ModelSpec,
    workload: Workload,
    recurrence: Recurrence | None = None,
    build: Callable[[], nn.Module] | None = None,
) -> FlopCheck:
    """Predicts one workload and counts it on the real module.

    Args:
        spec: what is predicted.
        workload: tokens, batch size, mode, checkpoints.
        recurrence: None for full attention.
        build: makes the module that is counted; by default from ``spec``.

    Raises:
        BadInput: a segment that cannot be, a full pass over the position table, or a module that
            cannot be counted.
    """
    predicted = estimate_flops(spec, workload, recurrence, "matmul").by_operator()
    method = "full" if recurrence is None else "rmt"
    return FlopCheck(method, predicted, _count(spec, workload, recurrence, build))


def _count(
    spec: ModelSpec,
    workload: Workload,
    recurrence: Recurrence | None,
    build: Callable[[], nn.Module] | None,
) -> dict[str, int]:
    if recurrence is None:
        require_in_table(spec, workload.tokens)
    module: Any
    if build is None:
        module = build_backbone(spec, dropout=workload.dropout)
    else:
        module = build()
        if workload.dropout is False:
            without_dropout(module)
    module.train(workload.train).requires_grad_(workload.train)
    if workload.checkpoint_layers:
        # The newer of the two names came with Transformers 5.2x, the older goes in 6.
        enable = getattr(module, "activation_checkpointing_enable", None)
        (enable or module.gradient_checkpointing_enable)()
    if recurrence is None:
        return real_flops(module, workload.tokens, batch=workload.batch_size, train=workload.train)
    counting = FlopCounterMode(display=False, custom_mapping=CONVOLUTIONS)
    try:
        with counting as counter, torch.set_grad_enabled(workload.train), values_of_meta():
            _rmt(module, spec, workload, recurrence)
    except BadInput:
        raise
    # A module may raise anything where a tensor has no values; to the user it is one thing.
    except Exception as error:
        raise BadInput(
            f"{type(module).__name__}: an RMT around it cannot be run without values, so it is "
            f"not counted ({reason_of(error)})"
        ) from error
    return matmul_flops(counter)


def _rmt(module: Any, spec: ModelSpec, workload: Workload, recurrence: Recurrence) -> None:
    """One pass or one training step of the real RMT around ``module``."""
    settings: Any = {
        "segment_size": recurrence.segment_size,
        "memory_tokens": recurrence.memory_tokens,
        "bptt_segments": workload.bptt_segments,
        "checkpoint_segments": workload.checkpoint_segments,
        "keep_logits": "all" if not workload.train else "none",
    }
    shape = (workload.batch_size, workload.tokens)
    ids_BN = torch.zeros(shape, dtype=torch.long, device="meta")
    if not spec.decoder:
        config = RMTConfig(**settings, cls_token_id=0, sep_token_id=0)
        encoder = RMTForSequenceClassification(module, config)
        encoder.train(workload.train)
        # One class is a number that is regressed to.
        kind = torch.float32 if spec.labels == 1 else torch.long
        labels_B = torch.zeros(workload.batch_size, dtype=kind, device="meta")
        output = encoder(ids_BN, labels=labels_B if workload.train else None)
        if workload.train:
            output.loss.backward()
        return
    decoder = RMTForCausalLM(module, RMTConfig(**settings))
    decoder.train(workload.train)
    if not workload.train:
        decoder(ids_BN)
        return
    # The counter follows modules by hooks that a gradient taken inside a forward pass, as
    # truncated BPTT does, cannot have; window by window from outside is the same work.
    for loss in decoder.window_losses(ids_BN, labels=ids_BN):
        torch.autograd.backward(loss)
