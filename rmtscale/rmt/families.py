"""The families that are run module by module, faster than their own forward.

Shape legend: B batch, L segment tokens, M memory, T = L plus memory, E embedding width (what goes
in and what comes out; OPT-350M is wider inside), V vocabulary, C classes.

Every other kind is run by its own forward (``body.py``). What is gained here: no mask where none is
needed, no synchronization with the host, and a step that can be captured and compiled whole. All
that is special to a kind stands in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from rmtscale.errors import BadInput
from rmtscale.rmt.body import Body

DECODERS = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neo": "GPTNeoForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "opt": "OPTForCausalLM",
}
"""``model_type`` of a decoder and the class that is wrapped."""
ENCODERS = {
    "bert": "BertForSequenceClassification",
    "modernbert": "ModernBertForSequenceClassification",
}
LEARNED_POSITIONS = ("bert", "gpt2", "gpt_neo", "opt")
"""Kinds with a position table, which a segment has to fit in; the others are rotary."""
NOT_CAPTURABLE = ("gpt_neo",)
"""Kinds whose eager code copies a host scalar to the device in every layer, which a graph cannot
hold; compiled, the scalar is a constant and the step can be captured."""


def is_family(backbone: PreTrainedModel, causal: bool) -> bool:
    """Whether a model is run module by module: by its kind and its class."""
    kinds = DECODERS if causal else ENCODERS
    return kinds.get(backbone.config.model_type) == type(backbone).__name__


def require_positions(config: PreTrainedConfig, segment_size: int) -> None:
    """Raises ``BadInput`` where a segment does not fit in the position table of a family.

    From the config alone, so that it can be said before the backbone is built.
    """
    if config.model_type in LEARNED_POSITIONS and segment_size > config.max_position_embeddings:
        raise BadInput(
            f"segment size {segment_size}: expected {config.max_position_embeddings} or less, the "
            f"position table of {config.model_type} (positions restart in every segment)"
        )


@dataclass(frozen=True)
class FamilyBody(Body):
    """Runs a family's modules in the order its own forward has them, without that forward."""

    def hidden(self, backbone: Any, embeds_BTE: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        if backbone.config.model_type in DECODERS:
            handed_over = [embeds_BTE]
            del embeds_BTE  # or this frame would hold it through the layers
            return decoder_hidden(backbone, handed_over.pop())
        return encoder_hidden(backbone, embeds_BTE, mask_BT)

    def logits(self, backbone: Any, hidden_BTE: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        if backbone.config.model_type in ENCODERS:
            return classify(backbone, hidden_BTE, mask_BT)
        logits_BTV: Tensor = backbone.get_output_embeddings()(hidden_BTE)
        return logits_BTV

    def balances(self, backbone: Any) -> bool:
        """Returns False: none of the families is a mixture of experts."""
        del backbone
        return False

    def blocks(self, backbone: Any) -> Iterator[nn.Module]:
        return _layers(backbone)


def decoder_hidden(
    backbone: PreTrainedModel, embeds_BTE: Tensor, past: DynamicCache | None = None
) -> Tensor:
    """Returns a causal backbone's last hidden states, (B, T, E), from position 0 or after ``past``.

    Runs the backbone's modules in the order its own ``forward`` has them, without that forward:
    what it adds is a mask. What stands before a token of a segment is all real, so that none is
    needed, but Transformers looks into positions and masks to find that out (a synchronization
    per segment) and, while a graph is captured or compiled, cannot look and makes the full
    square. Without a mask SDPA is told that attention is causal, and may use flash attention.
    """
    start = 0 if past is None else past.get_seq_length()
    position_ids = torch.arange(start, start + embeds_BTE.shape[1], device=embeds_BTE.device)[None]
    mask, attention = None, backbone.config._attn_implementation
    if past is None and attention == "eager":
        mask = causal_mask(embeds_BTE)
    elif past is not None or attention != "sdpa":
        mask = create_causal_mask(
            config=backbone.config,
            inputs_embeds=embeds_BTE,
            attention_mask=None,
            past_key_values=past,
        )
    given = {
        "attention_mask": mask,
        "position_ids": position_ids,
        "use_cache": past is not None,
        CACHE_ARGUMENT[backbone.config.model_type]: past,
    }
    enter = {
        "gpt2": _enter_gpt2,
        "gpt_neo": _enter_gpt2,
        "gpt_neox": _enter_gpt_neox,
        "llama": _enter_llama,
        "opt": _enter_opt,
    }[backbone.config.model_type]
    hidden_BTD, blocks, leave = enter(backbone, embeds_BTE, given)
    del embeds_BTE  # neither this nor the first hidden states are held through the layers
    for block in blocks:
        out = block(hidden_BTD, **given)
        hidden_BTD = out[0] if isinstance(out, tuple) else out
        del out
    for module in leave:
        hidden_BTD = hidden_BTD if module is None else module(hidden_BTD)
    return hidden_BTD


def causal_mask(embeds_BTE: Tensor) -> Tensor:
    """Returns what eager attention adds to its scores, (B, 1, T, T), as Transformers makes it.

    By kernels alone: Transformers up to 5.17 copies a number from the host for it, which is waited
    for, and which no graph can hold.
    """
    batch, positions = embeds_BTE.shape[:2]
    lowest = torch.finfo(embeds_BTE.dtype).min
    return embeds_BTE.new_full((batch, 1, positions, positions), lowest).triu_(1)


CACHE_ARGUMENT = {
    "gpt2": "past_key_values",
    "gpt_neo": "layer_past",
    "gpt_neox": "layer_past",
    "llama": "past_key_values",
    "opt": "past_key_values",
}
"""The name of the cache argument of a block, by kind."""

Entered = tuple[Tensor, Iterable[nn.Module], tuple[nn.Module | None, ...]]
"""First hidden states, (B, T, D); the blocks; what comes after them."""


def _enter_gpt2(backbone: Any, embeds_BTE: Tensor, given: dict[str, Any]) -> Entered:
    base = backbone.transformer
    hidden_BTD = base.drop(embeds_BTE + base.wpe(given["position_ids"]))
    if backbone.config.model_type == "gpt_neo":
        del given["position_ids"]
    return hidden_BTD, base.h, (base.ln_f,)


def _enter_gpt_neox(backbone: Any, embeds_BTE: Tensor, given: dict[str, Any]) -> Entered:
    base = backbone.gpt_neox
    hidden_BTD = base.emb_dropout(embeds_BTE)
    given["position_embeddings"] = base.rotary_emb(hidden_BTD, position_ids=given["position_ids"])
    return hidden_BTD, base.layers, (base.final_layer_norm,)


def _enter_llama(backbone: Any, embeds_BTE: Tensor, given: dict[str, Any]) -> Entered:
    base = backbone.model
    given["position_embeddings"] = base.rotary_emb(embeds_BTE, position_ids=given["position_ids"])
    return embeds_BTE, base.layers, (base.norm,)


def _enter_opt(backbone: Any, embeds_BTE: Tensor, given: dict[str, Any]) -> Entered:
    base = backbone.model.decoder
    inner_BTD = embeds_BTE if base.project_in is None else base.project_in(embeds_BTE)
    positions_BTD = base.embed_positions(None, position_ids=given["position_ids"])
    blocks: Iterable[nn.Module] = base.layers
    if base.training and base.layerdrop:
        blocks = [block for block in blocks if torch.rand(()) >= base.layerdrop]
    return inner_BTD + positions_BTD, blocks, (base.final_layer_norm, base.project_out)


def encoder_hidden(backbone: PreTrainedModel, embeds_BTE: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Last hidden states, (B, T, E), of a bidirectional backbone; positions start at 0.

    Where all rows are full there is nothing to mask, and none is made: Transformers would look
    into it on the host, or make the full square while a graph is captured or compiled.
    """
    position_ids = torch.arange(embeds_BTE.shape[1], device=embeds_BTE.device)[None]
    base = backbone.base_model
    if backbone.config.model_type != "bert":
        hidden_BTE: Tensor = base(
            inputs_embeds=embeds_BTE,
            attention_mask=mask_BT,
            position_ids=position_ids,
            return_dict=True,
        ).last_hidden_state
        return hidden_BTE
    # In two parts, because BertModel would also run its pooler in every segment; only the last
    # segment's [CLS] is ever read.
    embedded_BTE = base.embeddings(inputs_embeds=embeds_BTE, position_ids=position_ids)
    mask = None
    if mask_BT is not None:
        mask = create_bidirectional_mask(
            config=base.config, inputs_embeds=embedded_BTE, attention_mask=mask_BT
        )
    last_BTE: Tensor = base.encoder(embedded_BTE, attention_mask=mask).last_hidden_state
    return last_BTE


def classify(backbone: PreTrainedModel, hidden_BTE: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Returns the backbone's own classification head on one segment, (B, C)."""
    logits_BC: Tensor
    if backbone.config.model_type == "bert":
        logits_BC = backbone.classifier(backbone.dropout(backbone.bert.pooler(hidden_BTE)))
        return logits_BC
    if backbone.config.classifier_pooling == "cls":
        pooled_BE = hidden_BTE[:, 0]
    elif mask_BT is None:
        pooled_BE = hidden_BTE.mean(dim=1)
    else:
        kept_BT1 = mask_BT[..., None].to(hidden_BTE.dtype)
        pooled_BE = (hidden_BTE * kept_BT1).sum(dim=1) / kept_BT1.sum(dim=1)
    logits_BC = backbone.classifier(backbone.drop(backbone.head(pooled_BE)))
    return logits_BC


def _layers(backbone: Any) -> Iterator[nn.Module]:
    """Returns the transformer blocks, first to last."""
    find: dict[str, Callable[[Any], nn.ModuleList]] = {
        "bert": lambda model: model.bert.encoder.layer,
        "modernbert": lambda model: model.model.layers,
        "gpt2": lambda model: model.transformer.h,
        "gpt_neo": lambda model: model.transformer.h,
        "gpt_neox": lambda model: model.gpt_neox.layers,
        "llama": lambda model: model.model.layers,
        "opt": lambda model: model.model.decoder.layers,
    }
    yield from find[backbone.config.model_type](backbone)
