"""LoRA around a frozen backbone: which layers have it, what is trained, what a checkpoint keeps.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. A decoder
that predicts text has it in its query and value projections, as in their section 4.2 (and in the
key where all are one matrix). What has to learn a memory task besides has it in every matrix of its
layers; an encoder's pooler and head are trained whole.
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
_PREDICTS_TEXT = {
    "gpt2": ["c_attn"],
    "gpt_neo": ["q_proj", "v_proj"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
    "opt": ["q_proj", "v_proj"],
}
_EVERY_MATRIX: dict[str, Any] = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neo": ["q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "opt": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "bert": r".*\.layer\.\d+\.(.*\.)?(query|key|value|dense)",
    "modernbert": r".*\.layers\.\d+\.(attn|mlp)\.(Wqkv|Wi|Wo)",
}
_TRAINED_WHOLE = {"bert": ["pooler", "classifier"], "modernbert": ["head", "classifier"]}


def with_lora(backbone: nn.Module, rank: int, *, every_matrix: bool = False) -> nn.Module:
    """Wraps a backbone with ``peft``; its own weights are frozen, in half precision's values.

    Args:
        backbone: what is adapted.
        rank: of the adapters.
        every_matrix: of a decoder, in every matrix of its layers and not in its attention alone; an
            encoder always has it there.

    Raises:
        BadInput: a kind of which it is not known where its projections are.
    """
    import peft

    inner: Any = backbone
    kind = inner.config.model_type
    decoder, whole = _PREDICTS_TEXT.get(kind), _EVERY_MATRIX.get(kind)
    targets: Any = whole if every_matrix or decoder is None else decoder
    if targets is None:
        known = list(_EVERY_MATRIX)
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
