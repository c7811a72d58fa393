"""Holds the ``matmul`` convention against torch's FLOP counter on the real modules.

The modules are built on ``meta``: shapes without memory, so that OPT-175B is counted on a laptop.
Attention is eager there, because a fused kernel on the CPU is counted as nothing by some torch
versions; the matmuls are the same.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.passes import require_in_table
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.model import ModelSpec
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


def check_flops(
    spec: ModelSpec, workload: Workload, recurrence: Recurrence | None = None
) -> FlopCheck:
    """Predicts one workload and counts it on the real module.

    Raises:
        BadInput: a segment that cannot be, or a full pass over the position table.
    """
    predicted = estimate_flops(spec, workload, recurrence, "matmul").by_operator()
    method = "full" if recurrence is None else "rmt"
    return FlopCheck(method, predicted, _count(spec, workload, recurrence))


def _count(spec: ModelSpec, workload: Workload, recurrence: Recurrence | None) -> dict[str, int]:
    if recurrence is None:
        require_in_table(spec, workload.tokens)
    module: Any = build_backbone(spec, dropout=workload.dropout)
    module.train(workload.train).requires_grad_(workload.train)
    if workload.checkpoint_layers:
        # The newer of the two names came with Transformers 5.2x, the older goes in 6.
        enable = getattr(module, "activation_checkpointing_enable", None)
        (enable or module.gradient_checkpointing_enable)()
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(workload.train):
        if recurrence is None:
            _full(module, spec, workload)
        else:
            _rmt(module, spec, workload, recurrence)
    return matmul_flops(counter)


def matmul_flops(counter: FlopCounterMode) -> dict[str, int]:
    """Returns the FLOPs that a counter saw the model multiply, by aten operator.

    The angles of rotary positions are left out: they are a table, not a matmul of the model,
    though some releases of Transformers write it as a matmul of two vectors.
    """
    counts: dict[str, int] = {}
    for place, by_operator in counter.get_flop_counts().items():
        # A module is called by its place in the model, or by its class where it is run alone.
        rotary = place.endswith((".rotary_emb", "RotaryEmbedding"))
        sign = 1 if place == "Global" else -rotary
        for operator, flops in by_operator.items():
            name = str(operator).removeprefix("aten.")
            counts[name] = counts.get(name, 0) + sign * int(flops)
    return {name: flops for name, flops in counts.items() if flops}


def _full(module: Any, spec: ModelSpec, workload: Workload) -> None:
    """One pass over everything, and back from the sum of its logits."""
    shape = (workload.batch_size, workload.tokens)
    ids_BN = torch.zeros(shape, dtype=torch.long, device="meta")
    # A decoder gets an explicit mask: to derive one it reads values, and meta has none.
    inputs = {"attention_mask": torch.ones_like(ids_BN), "use_cache": False}
    logits = module(input_ids=ids_BN, **(inputs if spec.decoder else {})).logits
    if workload.train:
        logits.sum().backward()


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
        labels_B = torch.zeros(workload.batch_size, dtype=torch.long, device="meta")
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
