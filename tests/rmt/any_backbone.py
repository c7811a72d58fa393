"""Every causal type and encoder of Transformers, tiny and random, against a slow generic loop.

    python -m tests.rmt.any_backbone >reports/models/rmt.csv    # 5 minutes

Loss, and the gradient of every parameter, in float64. The loop shares nothing with
``rmtscale.rmt``: it runs the model's own forward on one sample after another, segment after
segment, with an explicit mask, and takes the logits that the model itself gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.rmt.slow_reference import cut_text
from tests.rmt.tiny_types import tiny_model

SIZE, MEMORY = 8, 2
LENGTHS = (11, 6)
AGREED = 1e-10


class Unrounded(TorchFunctionMode):
    """Calculates in float64 where a model asks for float32: norms, softmax, angles, states.

    1e-10 can only be asked for where nothing rounds. Both sides run in it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        wide = {torch.float32: torch.float64, torch.float: torch.float64}
        args = tuple(wide.get(x, x) if isinstance(x, torch.dtype) else x for x in args)
        kwargs = {
            name: wide.get(x, x) if isinstance(x, torch.dtype) else x
            for name, x in (kwargs or {}).items()
        }
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


@contextmanager
def _hidden_states(module: torch.nn.Module, kept: list[Tensor]) -> Iterator[None]:
    def keep(_module: Any, _args: Any, output: Any) -> None:
        found = getattr(output, "last_hidden_state", None)
        kept.append(output[0] if found is None else found)

    handle = module.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def slow_causal(
    backbone: Any, body: torch.nn.Module, initial: Tensor, ids: Tensor, lengths: tuple[int, ...]
) -> Tensor:
    """The mean loss over all labels but the first of each sample."""
    embed, losses = backbone.get_input_embeddings(), []
    for row, length in zip(ids, lengths, strict=True):
        columns = range(len(row) - length, len(row))
        state, logits = initial, []
        for part in cut_text(columns, SIZE - 2 * MEMORY, "right"):
            text = embed(row[part][None])[0]
            embeds = torch.cat([state, text, state])[None]
            ones = torch.ones(embeds.shape[:2], dtype=torch.long)
            kept: list[Tensor] = []
            with _hidden_states(body, kept):
                out = backbone(inputs_embeds=embeds, attention_mask=ones, use_cache=False)
            logits.append(out.logits[0, MEMORY : MEMORY + len(part)])
            state = kept[0][0, MEMORY + len(part) :]
        scores = torch.log_softmax(torch.cat(logits)[:-1], -1)
        labels = row[columns.start + 1 :]
        losses.append(-scores[torch.arange(len(labels)), labels])
    return torch.cat(losses).mean()


def difference(kind: str) -> float:
    """The largest difference of loss and gradients, as a share of the largest gradient, or of 1.

    Raises:
        BadInput: the RMT refuses the backbone; says why.
    """
    torch.set_default_dtype(torch.float64)
    try:
        with Unrounded():
            return _difference(RMTForCausalLM(tiny_model(kind), RMTConfig(SIZE, MEMORY)).eval())
    finally:
        torch.set_default_dtype(torch.float32)


def _difference(model: Any) -> float:
    with torch.no_grad():
        model.memory.reset(0.5)
    ids = torch.randint(3, 90, (len(LENGTHS), max(LENGTHS)))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, -length:] = 1
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours = model(ids, attention_mask=mask, labels=ids).loss
    own = torch.autograd.grad(ours, parameters, allow_unused=True)
    body = model.backbone.get_submodule(model.body.path)
    initial = model.memory.initial_ME
    theirs = slow_causal(model.backbone, body, initial, ids, LENGTHS)
    slow = torch.autograd.grad(theirs, parameters, allow_unused=True)
    worst = float((ours - theirs).abs().detach())
    for one, other, parameter in zip(own, slow, parameters, strict=True):
        grad = torch.zeros_like(parameter) if one is None else one
        expected = torch.zeros_like(parameter) if other is None else other
        scale = max(1.0, float(expected.abs().max()))
        worst = max(worst, float((grad - expected).abs().max()) / scale)
    return worst if math.isfinite(worst) else math.inf
