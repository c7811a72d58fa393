"""Attention over all tokens, as a part of a layer: its matrices, its squares and what it keeps.

Symbols: h query heads, g key and value heads, k width of a query or key head, v width of a value
head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rmtscale.specs.parts import Matrix, Square, Stateless


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Stateless):
    """Attention over all tokens: multi-head, grouped-query, multi-query or latent (MLA)."""

    heads: int
    kv_heads: int
    head_width: int
    """Width of a query and a key, k; with latent attention what is rotated is in it."""
    value_width: int | None = None
    """Width of a value, v; None is as wide as a key."""
    query_rank: int = 0
    """Queries come from a latent vector of this width (MLA); 0: from the token itself."""
    kv_rank: int = 0
    """Keys and values come from a latent vector of this width (MLA); 0: from the token itself."""
    rope_width: int = 0
    """Width of the rotated part of a latent attention's key, one for all heads."""
    window: int = 0
    """How far back a token looks; 0: to the start. Eager modules multiply the whole square."""
    qkv_bias: bool = False
    key_bias: bool | None = None
    """Where it is not that of query and value (Whisper has none)."""
    output_bias: bool = False
    bias_apart: bool = False
    """Biases are added behind the product, not in it (Falcon)."""
    latent_bias: bool = False
    """Whether the projections into the latent vectors have biases."""
    output_gate: bool = False
    """The query's matrix also makes a gate of the output (Qwen3-Next)."""
    keys_are_values: bool = False
    """One matrix makes both (Gemma 4's global layers)."""
    reuses_keys: bool = False
    """Keys and values are those of an earlier layer."""
    qk_norm: Literal["none", "head", "heads", "full"] = "none"
    """Norms of query and key: one for every head alike, one per head, or over all of it."""
    qk_norm_parts: int = 1
    """Vectors of such a norm: weight, or weight and bias."""
    added_positions: bool = False
    """Positions are added to the logits as they are multiplied (BLOOM)."""
    sinks: bool = False
    """One more logit for each head, which takes attention and gives nothing (gpt-oss)."""
    reads_encoder: bool = False
    """Cross-attention: keys and values are those of the encoder."""
    idle: bool = False
    """Its weights are there and nothing passes through them (a decoder without its encoder)."""
    index_heads: int = 0
    """Heads of the indexer that chooses what is attended to (DeepSeek V3.2); 0: none."""
    index_width: int = 0

    @property
    def title(self) -> str:
        """In words: ``grouped-query attention, 32 heads, 8 for keys and values``."""
        h, g = self.heads, self.kv_heads
        if self.kv_rank:
            words = f"latent attention, {h} heads, {self.kv_rank} + {self.rope_width} kept"
        elif g == h:
            words = f"attention, {h} heads of {self.head_width}"
        else:
            kind = "multi-query" if g == 1 else "grouped-query"
            words = f"{kind} attention, {h} heads of {self.head_width}, {g} for keys and values"
        if self.index_heads:
            words += f", an indexer of {self.index_heads} heads"
        return words + (f", window {self.window}" if self.window else "")

    @property
    def value(self) -> int:
        return self.head_width if self.value_width is None else self.value_width

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        h, g, k, v = self.heads, self.kv_heads, self.head_width, self.value
        over: Literal["tokens", "encoder"] = "encoder" if self.reads_encoder else "tokens"
        bias = self.qkv_bias
        key_bias = bias if self.key_bias is None else self.key_bias
        made: list[Matrix] = []

        def add(role: str, name: str, inner: int, outer: int, bias: bool = False) -> None:
            rows = over if role in ("k", "v") else "tokens"
            made.append(Matrix(name, inner, outer, bias, rows=rows, roles=((role, outer),)))

        if self.query_rank:
            add("q_a", "qkv", width, self.query_rank, self.latent_bias)
            add("q_b", "qkv", self.query_rank, h * k)
        else:
            add("q", "qkv", width, h * k * (1 + self.output_gate), bias)
        if self.kv_rank:
            add("kv_a", "qkv", width, self.kv_rank + self.rope_width, self.latent_bias)
            add("kv_b", "qkv", self.kv_rank, h * (k - self.rope_width + v))
        elif not self.reuses_keys:
            add("k", "qkv", width, g * k, key_bias)
            if not self.keys_are_values:
                add("v", "qkv", width, g * v, bias)
        if self.index_heads:
            add("index_q", "index", self.query_rank or width, self.index_heads * self.index_width)
            add("index_k", "index", width, self.index_width)
            add("index_weight", "index", width, self.index_heads)
        add("o", "output", h * v, width, self.output_bias)
        if self.idle:
            made = [item._replace(rows="never") for item in made]
        if self.bias_apart:
            made = [item._replace(called="mm") for item in made]
        return tuple(made)

    def vectors(self, width: int) -> int:
        del width
        norms = {
            "none": 0,
            "head": (2 - self.reuses_keys) * self.head_width,
            "heads": (self.heads + self.kv_heads) * self.head_width,
            "full": (self.heads + self.kv_heads) * self.head_width,
        }[self.qk_norm]
        latent = (self.query_rank + self.kv_rank) if self.kv_rank else 0
        index = 2 * self.index_width if self.index_heads else 0
        sinks = self.heads * self.sinks
        return norms * self.qk_norm_parts + latent + index + sinks

    def squares(self) -> tuple[Square, ...]:
        if self.idle:
            return ()
        over: Literal["tokens", "encoder"] = "encoder" if self.reads_encoder else "tokens"
        h, g, k, v = self.heads, self.kv_heads, self.head_width, self.value
        product = "baddbmm" if self.added_positions else "bmm"
        index: tuple[Square, ...] = ()
        if self.index_heads:
            n = self.index_heads
            read = (n + 1) * self.index_width
            index = (Square("index", n * (self.index_width + 1), read, 2 * n, over),)
        return (
            *index,
            # Written, and once more through the softmax.
            Square("logits", h * k, (h + g) * k, 3 * h, over, product),
            Square("reduction", h * v, (g + h) * v, h, over),
        )

    def cached(self, tokens: int) -> int:
        if self.reuses_keys or self.idle:
            return 0
        kept = tokens
        if self.window:  # so that it takes an array of lengths, too
            kept = tokens + (self.window - tokens) * (self.window < tokens)
        if self.kv_rank:
            token = self.kv_rank + self.rope_width
        else:
            token = self.kv_heads * (self.head_width + self.value)
        return kept * (token + self.index_width * bool(self.index_heads))
