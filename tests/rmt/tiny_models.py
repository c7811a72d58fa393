"""Tiny random backbones of every supported kind, weights large enough to matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

VOCABULARY = 19
POSITIONS = 16
_SIZES = {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 2}
_ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def _gpt2(**more: Any) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=POSITIONS,
            n_embd=8,
            n_layer=2,
            n_head=2,
            resid_pdrop=more.get("dropout", 0.0),
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **_ENDS,
        )
    )


def _opt(**more: Any) -> PreTrainedModel:
    return OPTForCausalLM(
        OPTConfig(
            **_SIZES,
            ffn_dim=16,
            num_attention_heads=2,
            max_position_embeddings=POSITIONS,
            dropout=0.0,
            word_embed_proj_dim=more.get("projection", 8),
            do_layer_norm_before="projection" not in more,
            **_ENDS,
        )
    )


def _gpt_neo(**_: Any) -> PreTrainedModel:
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=VOCABULARY,
            hidden_size=8,
            num_layers=2,
            num_heads=2,
            window_size=4,
            max_position_embeddings=POSITIONS,
            attention_types=[[["global", "local"], 1]],
            resid_dropout=0.0,
            embed_dropout=0.0,
            attention_dropout=0.0,
            **_ENDS,
        )
    )


def _gpt_neox(**_: Any) -> PreTrainedModel:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **_SIZES,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=POSITIONS,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            **_ENDS,
        )
    )


def _llama(**_: Any) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            **_SIZES,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=16,
            max_position_embeddings=POSITIONS,
            **_ENDS,
        )
    )


def _bert(**more: Any) -> PreTrainedModel:
    return BertForSequenceClassification(
        BertConfig(
            **_SIZES,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=more.get("labels", 3),
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=0.0,
            pad_token_id=0,
            attention_probs_dropout_prob=0.0,
        )
    )


def _modernbert(**more: Any) -> PreTrainedModel:
    return ModernBertForSequenceClassification(
        ModernBertConfig(
            **_SIZES,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=more.get("labels", 3),
            max_position_embeddings=POSITIONS,
            local_attention=6,
            global_attn_every_n_layers=2,
            classifier_pooling=more.get("pooling", "cls"),
            pad_token_id=0,
            cls_token_id=1,
            sep_token_id=2,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


DECODERS: dict[str, Callable[..., PreTrainedModel]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "opt-projected": lambda **more: _opt(projection=6, **more),
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    "llama": _llama,
}
ENCODERS: dict[str, Callable[..., PreTrainedModel]] = {
    "bert": _bert,
    "modernbert": _modernbert,
    "modernbert-mean": lambda **more: _modernbert(pooling="mean", **more),
}


def backbone(
    name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **more: Any
) -> PreTrainedModel:
    """A random model whose outputs differ visibly from token to token."""
    torch.manual_seed(seed)
    model = {**DECODERS, **ENCODERS}[name](**more).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    """Random ids."""
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def padded(
    lengths: Sequence[int], columns: int, left: bool, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids with a mask; padding left or right."""
    ids, mask = tokens(len(lengths), columns, seed=seed), torch.zeros(len(lengths), columns)
    for row, length in enumerate(lengths):
        mask[row, slice(columns - length, columns) if left else slice(0, length)] = 1
    return ids, mask.long()
