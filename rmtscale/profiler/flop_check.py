"""Holds the ``matmul`` convention against torch's FLOP counter on the real modules.

The modules are built on ``meta``: shapes without memory, so that OPT-175B is counted on a laptop.
Attention is eager there, because a fused kernel on the CPU is counted as nothing by some torch
versions; the products are the same.

Shapes: B batch, T positions of a pass (text, memory and special tokens), D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.passes import plan_passes, require_in_table
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


@dataclass(frozen=True, slots=True)
class FlopCheck:
    """What was predicted and what was counted, per aten operator."""

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
    module = build_backbone(spec, dropout=workload.dropout)
    module.train(workload.train)
    if workload.checkpoint_layers:
        module.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    passes = plan_passes(spec, workload, recurrence)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(workload.train):
        if recurrence is None:
            logits = _full(module, spec, workload)
        else:
            logits = _segments(module, spec, workload, recurrence, passes)
        if workload.train:
            logits.sum().backward()
    counts = counter.get_flop_counts().get("Global", {})
    return {str(operator).removeprefix("aten."): int(flops) for operator, flops in counts.items()}


def _full(module: nn.Module, spec: ModelSpec, workload: Workload) -> Tensor:
    ids = torch.zeros(workload.batch_size, workload.tokens, dtype=torch.long, device="meta")
    return _logits(module, spec, input_ids=ids)


def _logits(module: nn.Module, spec: ModelSpec, **inputs: Tensor) -> Tensor:
    """Logits of one pass. A decoder gets an explicit mask: to derive one it reads values."""
    if spec.decoder:
        shape = next(iter(inputs.values())).shape[:2]
        mask = torch.ones(shape, dtype=torch.long, device="meta")
        logits: Tensor = module(**inputs, attention_mask=mask, use_cache=False).logits
    else:
        logits = module(**inputs).logits
    return logits


def _segments(
    module: nn.Module, spec: ModelSpec, workload: Workload, recurrence: Recurrence
) -> Tensor:
    """The products of an RMT and nothing else: one pass per segment, state handed on.

    Returns something that every scored logit flows into.
    """
    batch, width = workload.batch_size, spec.embedding_width
    state_BMD = torch.zeros(
        batch, recurrence.memory_tokens, width, device="meta", requires_grad=True
    )
    run = _decoder_segment if spec.decoder else _encoder_segment
    scored = torch.zeros((), device="meta")
    segments = [
        (one.text_tokens, index >= one.runs - one.backward_runs)
        for one in reversed(plan_passes(spec, workload, recurrence))
        for index in range(one.runs)
    ]
    for text_tokens, reached in segments:
        ids_BL = torch.zeros(batch, text_tokens, dtype=torch.long, device="meta")
        last = len(segments) == 1
        with torch.set_grad_enabled(workload.train and reached):
            if workload.checkpoint_segments and reached:
                logits, state_BMD = checkpoint(
                    run, module, spec, ids_BL, state_BMD, use_reentrant=False
                )
            else:
                logits, state_BMD = run(module, spec, ids_BL, state_BMD)
        del last
        scored = logits.sum() if not spec.decoder else scored + logits.sum()
    return scored
