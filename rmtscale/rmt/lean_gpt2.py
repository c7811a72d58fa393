"""A full segment of GPT-2 at inference, with as few kernels and as little work as torch has for it.

Shape legend: B batch, L segment tokens, M memory, T = L plus 2M, R = B times T rows, K kept
positions, Q = K + M last positions, E width, H heads, D width of a head, N twice the layers.

The numbers are those of the backbone's own modules within the rounding of the dtype. What differs:

* Products add to the residual stream in place. Their biases are no part of it: the stream is its
  value less a constant, the sum of the biases so far, which the next norm adds.
* In bf16 GELU is worked out inside of the product before it.
* Of the last block only what is read runs: keys and values of all positions, and all the rest for
  the last Q, the kept text and the write memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import FastGELUActivation, GELUTanh, NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Attention, GPT2Block
from transformers.pytorch_utils import Conv1D

from rmtscale.rmt.capturable import is_watched
from rmtscale.rmt.families import FamilyBody
from rmtscale.rmt.memory import decoder_layout

GELUS = (NewGELUActivation, GELUTanh, FastGELUActivation)
"""All of them are GELU by ``tanh``, which is what a product can end with."""


def is_plain_gpt2(model: Any) -> bool:
    """Whether nothing in an RMT's backbone is another than GPT-2's own, or is watched by hooks.

    In fp16 it never is: there the lean step's error was 1.7 times that of the modules (8.2e-4
    beside 4.8e-4 on an H200).
    """
    backbone = model.backbone
    config = backbone.config
    if (
        not isinstance(model.body, FamilyBody)
        or config.model_type != "gpt2"
        or config._attn_implementation != "sdpa"
        or model.embedding_VE.dtype == torch.half
        or is_watched(model)
        or len({(p.dtype, p.device) for p in model.parameters()}) > 1
        or torch.is_autocast_enabled(model.embedding_VE.device.type)
    ):
        return False
    base = backbone.transformer
    return all(
        type(module) is kind
        for kind, modules in {
            nn.Embedding: [base.wte, base.wpe],
            nn.LayerNorm: [base.ln_f],
            GPT2Block: base.h,
        }.items()
        for module in modules
    ) and all(_is_plain(block) for block in base.h)


def _is_plain(block: Any) -> bool:
    return (
        type(block.attn) is GPT2Attention
        and type(block.mlp) is GPT2MLP
        and isinstance(block.mlp.act, GELUS)
        and not hasattr(block, "crossattention")
        and all(type(norm) is nn.LayerNorm for norm in (block.ln_1, block.ln_2))
        and all(type(product) is Conv1D for product in _products(block))
    )


def _products(block: Any) -> tuple[Any, ...]:
    return block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj


class LeanGPT2:
    """``state, ids -> state, kept hidden states`` of full rows.

    Args:
        model: an RMT of which ``is_plain_gpt2`` is true, in evaluation mode.
        kept: K.
        compile_step: compile what stands between the products.
        backend: of ``torch.compile``.
    """

    def __init__(
        self, model: Any, kept: int, *, compile_step: bool = False, backend: str = "inductor"
    ) -> None:
        self._model, self._kept = model, kept
        parts: list[Any] = [_enter, _norm, _attend_last]
        if compile_step:
            parts = [torch.compile(part, dynamic=False, backend=backend) for part in parts]
        self._enter, self._norm, self._attend_last = parts
        like = model.embedding_VE
        count = 2 * len(model.backbone.transformer.h)
        self._so_far_NN = like.new_ones(count, count).tril_()

    @torch.no_grad()
    def __call__(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after a segment, (B, M, E), and the last text's hidden states."""
        base, batch = self._model.backbone.transformer, len(ids_BL)
        state_BME = self._model.take_up(state_BME)
        *blocks, last = base.h
        stream_RE = self._enter(base.wte.weight, base.wpe.weight, state_BME, ids_BL)
        biases = [one.bias for block in base.h for one in (block.attn.c_proj, block.mlp.c_proj)]
        missing = iter([None, *(self._so_far_NN @ torch.stack(biases)).unbind()])
        for block in blocks:
            qkv_RE = _product(block.attn.c_attn, self._normed(stream_RE, missing, block.ln_1))
            stream_RE.addmm_(_attend(block.attn, qkv_RE, batch), block.attn.c_proj.weight)
            self._feed_forward(stream_RE, missing, block)
        normed_RE = self._normed(stream_RE, missing, last.ln_1)
        count = self._kept + state_BME.shape[1]
        stream_RE = _last_rows(stream_RE, batch, count)
        attended = self._last_attention(last.attn, normed_RE, batch, count)
        stream_RE.addmm_(attended, last.attn.c_proj.weight)
        self._feed_forward(stream_RE, missing, last)
        hidden_BQE = self._normed(stream_RE, missing, base.ln_f).reshape(batch, count, -1)
        new_BME = hidden_BQE[:, self._kept :]
        return self._model.hand_over(state_BME, new_BME), hidden_BQE[:, : self._kept]

    def _normed(self, stream_RE: Tensor, missing: Any, norm: Any) -> Tensor:
        found: Tensor = self._norm(stream_RE, next(missing), norm.weight, norm.bias, norm.eps)
        return found

    def _feed_forward(self, stream_RE: Tensor, missing: Any, block: Any) -> None:
        up, down = block.mlp.c_fc, block.mlp.c_proj
        inner_RF = product_with_gelu(
            self._normed(stream_RE, missing, block.ln_2), up.weight, up.bias
        )
        stream_RE.addmm_(inner_RF, down.weight)

    def _last_attention(self, attn: Any, normed_RE: Tensor, batch: int, count: int) -> Tensor:
        """Attention of the last positions to all, (B times Q, E)."""
        width, heads = normed_RE.shape[1], attn.num_heads
        weight, bias = attn.c_attn.weight, attn.c_attn.bias
        key_value = torch.addmm(bias[width:], normed_RE, weight[:, width:])
        key_BHTD, value_BHTD = _heads(key_value, batch, 2, heads)
        query = torch.addmm(bias[:width], _last_rows(normed_RE, batch, count), weight[:, :width])
        (query_BHQD,) = _heads(query, batch, 1, heads)
        out_BHQD: Tensor = self._attend_last(query_BHQD, key_BHTD, value_BHTD, attn.scaling)
        return out_BHQD.transpose(1, 2).reshape(-1, width)


def _enter(wte_VE: Tensor, wpe_PE: Tensor, state_BME: Tensor, ids_BL: Tensor) -> Tensor:
    embeds_BTE = decoder_layout(state_BME, F.embedding(ids_BL, wte_VE), None)
    return (embeds_BTE + wpe_PE[: embeds_BTE.shape[1]]).flatten(0, 1)


def _norm(
    stream_RE: Tensor, missing_E: Tensor | None, weight_E: Tensor, bias_E: Tensor, eps: float
) -> Tensor:
    whole_RE = stream_RE if missing_E is None else stream_RE + missing_E
    return F.layer_norm(whole_RE, weight_E.shape, weight_E, bias_E, eps)


def _product(module: Any, rows: Tensor) -> Tensor:
    return torch.addmm(module.bias, rows, module.weight)


def product_with_gelu(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns GELU by ``tanh`` of ``rows @ weight + bias``, on a GPU in bf16 by one kernel.

    On a CPU torch's one operator for it is another GELU, that by ``erf``. In fp32 its ``tanh`` is
    not known to be as exact as the dtype.
    """
    if rows.is_cuda and rows.dtype == torch.bfloat16:
        return torch._addmm_activation(bias, rows, weight, use_gelu=True)
    return F.gelu(torch.addmm(bias, rows, weight), approximate="tanh")


def _heads(rows: Tensor, batch: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Views of queries, keys or values that stand beside each other, (B, H, T, D) each."""
    width = rows.shape[1] // (parts * heads)
    split = rows.reshape(batch, -1, parts, heads, width)
    return tuple(part.transpose(1, 2) for part in split.unbind(2))


def _attend(attn: Any, qkv: Tensor, batch: int) -> Tensor:
    query, key, value = _heads(qkv, batch, 3, attn.num_heads)
    out_BHTD = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=attn.scaling)
    return out_BHTD.transpose(1, 2).reshape(len(qkv), -1)


def _last_rows(rows_RE: Tensor, batch: int, count: int) -> Tensor:
    """The last positions of each input, (B times Q, E)."""
    return rows_RE.reshape(batch, -1, rows_RE.shape[1])[:, -count:].flatten(0, 1)


def _attend_last(
    query_BHQD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scaling: float
) -> Tensor:
    """Causal attention of the last Q positions to all T; scores in fp32 or wider."""
    wide = torch.promote_types(query_BHQD.dtype, torch.float32)
    scores_BHQT = (query_BHQD.to(wide) * scaling) @ key_BHTD.to(wide).transpose(2, 3)
    count, positions = scores_BHQT.shape[2:]
    later_QT = torch.ones(count, positions, dtype=torch.bool, device=scores_BHQT.device)
    later_QT = later_QT.triu(positions - count + 1)
    share_BHQT = scores_BHQT.masked_fill(later_QT, -torch.inf).softmax(-1)
    return share_BHQT.to(value_BHTD.dtype) @ value_BHTD
