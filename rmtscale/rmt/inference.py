"""Reads an input of any length in constant memory, segment by segment, captured where that works.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rmtscale.rmt.arguments import require_known, require_text
from rmtscale.rmt.config import KEPT_LOGITS
from rmtscale.rmt.graph import SegmentStep, require_evaluation
from rmtscale.rmt.outputs import RMTCausalLMOutput
from rmtscale.rmt.segmenting import cut
from rmtscale.rmt.validation import require_memory, require_vocabulary
from rmtscale.units import require_one_of

SHORTER = 8
"""The number of lengths of shorter segments that are kept captured."""


@torch.no_grad()
def infer(
    model: Any,
    input_ids: Tensor | None,
    memory: Tensor | None,
    *,
    inputs_embeds: Tensor | None,
    keep_logits: str,
    compile_step: bool,
    cuda_graph: bool | None,
    **given: Any,
) -> RMTCausalLMOutput:
    """Reads an input as ``RMTForCausalLM.infer`` says.

    Raises:
        BadInput: as ``forward``; also a model in training mode.
    """
    require_known("infer", given, "input_ids, inputs_embeds, memory, keep_logits")
    require_one_of("keep_logits", keep_logits, KEPT_LOGITS[:2])
    weight = model.embedding_VE
    ids_BN = require_text(input_ids, inputs_embeds, weight)
    batch = ids_BN.shape[0]
    if memory is not None:
        require_memory(memory, batch, model.config.memory_tokens, weight)
    require_vocabulary(ids_BN, model.vocabulary)
    require_evaluation(model)
    key = (batch, compile_step, cuda_graph)
    step = model.segment_steps.get(key)
    if step is None or not step.fits():
        if step is not None:
            model.segment_steps.clear()  # the weights have moved: none of them fits
        step = model.segment_steps[key] = SegmentStep(
            model, batch, compile_step=compile_step, cuda_graph=cuda_graph
        )
    step.start(model.initial_state(batch) if memory is None else memory)
    for begin, end in cut(ids_BN.shape[1], model.segment_tokens, model.config.alignment):
        ids_BL = ids_BN[:, begin:end]
        own = None if inputs_embeds is not None else _step_of(model, step, end - begin)
        if own is None:
            new_BME, text_BLE = model.step(step.state_BME, ids_BL.to(weight.device))
            step.start(new_BME)
            step.last_B1E.copy_(text_BLE[:, -1:])
            del new_BME, text_BLE  # views of all hidden states of the segment
            continue
        if own is not step:
            own.start(step.state_BME)
        own(ids_BL)
        if own is not step:
            step.start(own.state_BME)
            step.last_B1E.copy_(own.last_B1E)
    logits_B1V = None if keep_logits == "none" else model.head(step.last_B1E.flatten(0, 1))[:, None]
    return RMTCausalLMOutput(logits=logits_B1V, memory=step.state_BME.clone())


def _step_of(model: Any, full: SegmentStep, tokens: int) -> SegmentStep | None:
    """Returns the step of a segment of some length; None for one that is to be run eagerly.

    A shorter segment is captured when its length comes for the second time: most come once.
    """
    if tokens == model.segment_tokens:
        return full
    if not full.uses_graph:
        return None
    steps, key = model.segment_steps, ("shorter", len(full.ids_BL), tokens)
    if key not in steps:
        steps[key] = None  # seen
        return None
    own: SegmentStep | None = steps.pop(key)
    if own is None or not own.fits():
        shorter = [other for other, kept in steps.items() if other[0] == "shorter" and kept]
        for other in shorter[: len(shorter) - SHORTER + 1]:
            del steps[other]
        own = SegmentStep(model, len(full.ids_BL), tokens=tokens)
    steps[key] = own  # the newest stands last
    return own
