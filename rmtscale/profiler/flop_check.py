"""Holds the ``matmul`` convention against torch's FLOP counter on the real modules.

The modules are built on ``meta``: shapes without memory, so that OPT-175B is counted on a laptop.
Attention is eager there, because a fused kernel on the CPU is counted as nothing by some torch
versions; the products are the same.

Shapes: B batch, L text tokens of a segment, M memory, T positions of a pass (all of them), D
embedding width, V vocabulary, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
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
    module: Any = build_backbone(spec, dropout=workload.dropout)
    module.train(workload.train)
    if workload.checkpoint_layers:
        # The newer of the two names came with Transformers 5.2x, the older goes in 6.
        enable = getattr(module, "activation_checkpointing_enable", None)
        (enable or module.gradient_checkpointing_enable)()
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(workload.train):
        if recurrence is None:
            scored = _full(module, spec, workload)
        else:
            scored = _segments(module, spec, workload, recurrence)
        if workload.train:
            torch.autograd.backward(scored)
    counts = counter.get_flop_counts().get("Global", {})
    return {str(operator).removeprefix("aten."): int(flops) for operator, flops in counts.items()}


def _full(module: Any, spec: ModelSpec, workload: Workload) -> Tensor:
    """One pass over everything; the sum of its logits."""
    ids_BT = torch.zeros(workload.batch_size, workload.tokens, dtype=torch.long, device="meta")
    if not spec.decoder:
        return torch.sum(module(input_ids=ids_BT).logits)
    # A decoder gets an explicit mask: to derive one it reads values, and meta has none.
    mask_BT = torch.ones_like(ids_BT)
    return torch.sum(module(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits)


def _segments(
    module: nn.Module, spec: ModelSpec, workload: Workload, recurrence: Recurrence
) -> Tensor:
    """The products of an RMT and nothing else: one pass per segment, the state handed on.

    Returns a scalar that everything the loss depends on flows into.
    """
    batch, width = workload.batch_size, spec.embedding_width
    state_BMD = torch.zeros(batch, recurrence.memory_tokens, width, device="meta").requires_grad_()
    run = _decoder_segment if spec.decoder else _encoder_segment
    # Right-aligned: the short segment is the first, and the last ones are reached by a gradient.
    segments = [
        (one.text_tokens, index >= one.runs - one.backward_runs)
        for one in reversed(plan_passes(spec, workload, recurrence))
        for index in range(one.runs)
    ]
    loss = torch.zeros((), device="meta")
    for text_tokens, reached in segments:
        ids_BL = torch.zeros(batch, text_tokens, dtype=torch.long, device="meta")
        with torch.set_grad_enabled(workload.train and reached):
            if workload.checkpoint_segments and reached:
                scored, state_BMD = checkpoint(run, module, ids_BL, state_BMD, use_reentrant=False)
            else:
                scored, state_BMD = run(module, ids_BL, state_BMD)
        loss = loss + scored if spec.decoder else scored
    return loss if spec.decoder else _classifier_loss(module, loss)


def _decoder_segment(module: Any, ids_BL: Tensor, state_BMD: Tensor) -> tuple[Tensor, Tensor]:
    """Read memory, text, write memory; the head on the text only. Returns (loss, new state)."""
    memory, tokens = state_BMD.shape[1], ids_BL.shape[1]
    text_BLD = module.get_input_embeddings()(ids_BL)
    inputs_BTD = torch.cat([state_BMD, text_BLD, state_BMD], dim=1)
    mask_BT = torch.ones(inputs_BTD.shape[:2], dtype=torch.long, device="meta")
    output = module.base_model(inputs_embeds=inputs_BTD, attention_mask=mask_BT, use_cache=False)
    hidden_BTD = output.last_hidden_state
    logits_BLV = module.get_output_embeddings()(hidden_BTD[:, memory : memory + tokens])
    # A log-sum-exp keeps its result, as a cross-entropy does, so a checkpoint repeats the head.
    return logits_BLV.logsumexp(-1).sum(), hidden_BTD[:, memory + tokens :]


def _encoder_segment(module: Any, ids_BL: Tensor, state_BMD: Tensor) -> tuple[Tensor, Tensor]:
    """[CLS] memory [SEP] text [SEP]. Returns (hidden states, new state); no pooler here."""
    memory = state_BMD.shape[1]
    text_BLD = module.get_input_embeddings()(ids_BL)
    special_B1D = text_BLD[:, :1]
    inputs_BTD = torch.cat([special_B1D, state_BMD, special_B1D, text_BLD, special_B1D], dim=1)
    encoder = module.base_model
    hidden_BTD = encoder.encoder(encoder.embeddings(inputs_embeds=inputs_BTD)).last_hidden_state
    return hidden_BTD, hidden_BTD[:, 1 : 1 + memory]


def _classifier_loss(module: Any, hidden_BTD: Tensor) -> Tensor:
    logits_BC: Tensor = module.classifier(module.base_model.pooler(hidden_BTD))
    return logits_BC.sum()
