"""Arguments that other models take, tokenizers return or collators make: known, or refused by name.

Shape legend: B batch, N text columns of the input, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.validation import has_values, require_ids, shape_text

_FACTS = frozenset(
    {
        "length",
        "num_truncated_tokens",
        "offset_mapping",
        "overflow_to_sample_mapping",
        "overflowing_tokens",
        "special_tokens_mask",
    }
)
"""Facts about a text that change nothing in how it is read."""
FROM_A_TOKENIZER = _FACTS | {"token_type_ids"}
"""The names that a tokenizer may return beside the ids and the mask."""
_SWITCHES = frozenset(
    {"output_attentions", "output_hidden_states", "output_router_logits", "use_cache"}
)
"""Requests for more output, which may be declined."""
_INSTEAD = {
    "past_key_values": "memory, which is what is handed from call to call",
    "cache_position": "memory, which is what is handed from call to call",
    "use_cache": "memory, which is what is handed from call to call",
    "position_ids": "none, positions restart in every segment",
    "cu_seq_lens_q": "rows that are padded, with an attention_mask",
    "cu_seq_lens_k": "rows that are padded, with an attention_mask",
    "max_length_q": "rows that are padded, with an attention_mask",
    "max_length_k": "rows that are padded, with an attention_mask",
    "seq_idx": "rows that are padded, with an attention_mask",
    "decoder_input_ids": "input_ids, no backbone has an encoder and a decoder",
    "output_attentions": "None or False, segments are not kept",
    "output_hidden_states": "None or False, segments are not kept",
    "output_router_logits": "None or False, segments are not kept",
    "logits_to_keep": "keep_logits, one of none, last, all",
    "num_logits_to_keep": "keep_logits, one of none, last, all",
}


@never_compiled
def require_known(call: str, given: Mapping[str, Any], accepted: str) -> None:
    """Raises ``BadInput`` for an argument that a call can neither follow nor leave aside.

    Args:
        call: its name, for the message.
        given: arguments it has no parameter for.
        accepted: the parameters it has, for the message.
    """
    for name, value in given.items():
        if value is None or name in _FACTS:
            continue
        if name in _SWITCHES and value is False:
            continue
        if name == "token_type_ids":
            _require_constant(name, value, 0, "segments are read one by one")
        elif name == "attention_mask":
            _require_constant(name, value, 1, f"{call} reads rows of one length")
        else:
            raise BadInput(
                f"{call} does not take {name}: expected {_INSTEAD.get(name, f'one of {accepted}')}"
            )


@never_compiled
def require_plain_output(config: Any) -> None:
    """Raises ``BadInput`` where the config of a backbone asks for output that is not kept."""
    for name in ("output_attentions", "output_hidden_states"):
        if getattr(config, name, False):
            raise BadInput(
                f"{name} True in the config of the backbone: expected False, segments are not kept"
            )


def _require_constant(name: str, value: Any, only: int, reason: str) -> None:
    if not isinstance(value, Tensor):
        raise BadInput(f"{name} {type(value).__name__}: expected a tensor")
    if has_values(value) and bool((value != only).any()):
        raise BadInput(f"{name} with other values than {only}: expected {only}, {reason}")


@never_compiled
def require_text(input_ids: Tensor | None, inputs_embeds: Tensor | None, like: Tensor) -> Tensor:
    """Returns the text of a call: ids, (B, N), or their embeddings, (B, N, E).

    Args:
        input_ids: (B, N), or None.
        inputs_embeds: (B, N, E), or None.
        like: the token embeddings, whose width, dtype and device embeddings have to have.

    Raises:
        BadInput: both, neither, or another shape, dtype or device.
    """
    if inputs_embeds is None:
        return require_ids(input_ids)
    if input_ids is not None:
        raise BadInput("input_ids beside inputs_embeds: expected one of the two")
    if not isinstance(inputs_embeds, Tensor) or not inputs_embeds.is_floating_point():
        kind = getattr(inputs_embeds, "dtype", type(inputs_embeds).__name__)
        raise BadInput(f"inputs_embeds of {kind}: expected {like.dtype}")
    shape, width = inputs_embeds.shape, like.shape[-1]
    if len(shape) != 3 or 0 in shape or shape[2] != width:
        raise BadInput(
            f"inputs_embeds of shape {shape_text(inputs_embeds)}: expected (batch, tokens, {width})"
        )
    if inputs_embeds.device != like.device:
        raise BadInput(f"inputs_embeds on {inputs_embeds.device}: expected {like.device}")
    if inputs_embeds.dtype != like.dtype and not _autocasts(like.device.type):
        raise BadInput(f"inputs_embeds of {inputs_embeds.dtype}: expected {like.dtype}")
    return inputs_embeds


def _autocasts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
