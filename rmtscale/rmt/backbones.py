"""Which Hugging Face models can be the backbone of an RMT, and how each is run on embeddings.

Shape legend: B batch, L segment tokens, M memory, T = L plus memory, E embedding width (what goes
in and what comes out; OPT-350M is wider inside), V vocabulary, C classes.

The backbone is used as it is: nothing in it is replaced or copied. A kind that is not listed here
is refused by its name, because "runs without an error" is not "runs right": positions, masks and
heads differ from kind to kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from rmtscale.errors import BadInput, quoted_list

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


def require_kind(backbone: object, accepted: dict[str, str]) -> str:
    """Returns the kind of a backbone.

    Raises:
        BadInput: not a Hugging Face model, or one that is not among ``accepted``; says which are.
    """
    name = type(backbone).__name__
    config = getattr(backbone, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in accepted or name != accepted[kind]:
        raise BadInput(
            f"backbone {name} (model_type {kind!r}): expected {quoted_list(accepted.values())}"
        )
    return str(kind)


def require_positions(config: PreTrainedConfig, segment_size: int) -> None:
    """Raises ``BadInput`` where a whole segment does not fit in the position table."""
    if config.model_type in LEARNED_POSITIONS and segment_size > config.max_position_embeddings:
        raise BadInput(
            f"segment size {segment_size}: expected {config.max_position_embeddings} or less, the "
            f"position table of {config.model_type} (positions restart in every segment)"
        )


def embedding_std(backbone: PreTrainedModel) -> float:
    """Returns the spread of the token embeddings: memory starts out as large as they are."""
    weight = backbone.get_input_embeddings().weight
    if weight.is_meta:
        config = backbone.config
        return float(getattr(config, "initializer_range", getattr(config, "init_std", 0.02)))
    return float(weight.detach().float().std())


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
    mask = None
    if past is not None or backbone.config._attn_implementation != "sdpa":
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


def layers(backbone: PreTrainedModel) -> Iterator[nn.Module]:
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
