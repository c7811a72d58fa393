"""LoRA around a frozen backbone: which layers have it, what is trained, what a checkpoint keeps.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. A decoder
that predicts text has it in its query and value projections, as in their section 4.2 (and in the
key where all are one matrix); an encoder, which has to learn a task besides, in every matrix of its
layers, and its pooler and head are trained whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput, quoted_list

SCALE = 2
"""LoRA's product is multiplied by this, whatever the rank."""
_DECODER_TARGETS: dict[str, list[str]] = {
    "gpt2": ["c_attn"],
    "gpt_neo": ["q_proj", "v_proj"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
    "opt": ["q_proj", "v_proj"],
}
_ENCODER_TARGETS = {
    "bert": r".*\.layer\.\d+\.(.*\.)?(query|key|value|dense)",
    "modernbert": r".*\.layers\.\d+\.(attn|mlp)\.(Wqkv|Wi|Wo)",
}
_TRAINED_WHOLE = {"bert": ["pooler", "classifier"], "modernbert": ["head", "classifier"]}


def with_lora(backbone: nn.Module, rank: int) -> nn.Module:
    """Wraps a backbone with ``peft``; its own weights are frozen, in half precision's values.

    Raises:
        BadInput: a kind of which it is not known where its projections are.
    """
    import peft

    inner: Any = backbone
    kind = inner.config.model_type
    targets: Any = _DECODER_TARGETS.get(kind) or _ENCODER_TARGETS.get(kind)
    if targets is None:
        known = [*_DECODER_TARGETS, *_ENCODER_TARGETS]
        raise BadInput(f"LoRA on model_type {kind!r}: expected {quoted_list(known)}")
    round_to_half(inner)
    lora = peft.LoraConfig(
        r=rank,
        lora_alpha=SCALE * rank,
        target_modules=targets,
        modules_to_save=_TRAINED_WHOLE.get(kind),
        fan_in_fan_out=kind == "gpt2",
    )
    wrapped: nn.Module = peft.get_peft_model(inner, lora)
    return wrapped


@torch.no_grad()
def round_to_half(backbone: nn.Module) -> None:
    """Gives the weights of a backbone that will be frozen half precision's values.

    A checkpoint may then keep what was trained alone: the weights it stands on are the same,
    whether they were read from a file in single or in half precision.
    """
    for weight in backbone.parameters():
        weight.copy_(weight.half() + 0)  # a negative zero would be a zero after an EMA step


def trained_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns what training beside a frozen backbone changes of an RMT's weights: memory, adapters,
    LoRA, and what is trained whole with it."""
    return {
        name: x
        for name, x in state.items()
        if not name.startswith("backbone.") or "lora_" in name or "modules_to_save" in name
    }


def frozen_digest(state: Mapping[str, Tensor]) -> str:
    """Computes the first 16 digits of the SHA-256 of what stays as it was, in half precision."""
    trained = trained_part(state)
    digest = hashlib.sha256()
    for name, x in sorted(state.items()):
        if name not in trained and "original_module" not in name:
            digest.update(name.encode())
            digest.update(x.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
