"""The parts of one layer: its matrices, its other weights, and what it multiplies besides.

A mixer (attention, or a recurrence) and a feed-forward each say the same four things of
themselves, and every closed form is a sum over them: parameters, FLOPs, cache. All of it integers.

Symbols: d width of the model, h query heads, g key and value heads, k width of a query or key
head, v width of a value head, s tokens, E tokens of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class Matrix(NamedTuple):
    """Equal matrices that a token is multiplied with."""

    name: str
    """The cost term: ``qkv``, ``dense_up``."""
    inner: int
    outer: int
    bias: bool = False
    copies: int = 1
    """How many there are: one, or one for each expert."""
    active: int = 1
    """How many of them a token passes through."""
    rows: Literal["tokens", "encoder", "once", "never"] = "tokens"
    """The rows it multiplies: every token, every token of the encoder, one vector a sample, or
    nothing."""
    called: str | None = None
    """The aten operator that multiplies it, where it is not what a linear layer usually is."""
    turned: bool = False
    """Its input has channels first: torch multiplies it as a batch, or folds it where a gradient
    is wanted."""
    multiplied: int = 0
    """How many a token is multiplied with in the released module, if more than ``active``."""
    tied: bool = False
    """Its weights are those of another, and are counted there; a bias is its own."""
    roles: tuple[tuple[str, int], ...] = ()
    """Parts that it consists of in one layer of the released model, each with its outputs:
    ``(("gate", 14336), ("up", 14336))``. ``rows/modules`` has the module's name for each."""

    @property
    def operator(self) -> str:
        """The aten operator that multiplies it."""
        if self.turned:
            return "bmm"
        return self.called or ("addmm" if self.bias else "mm")

    @property
    def trained_operator(self) -> str:
        """Names the operator where a gradient is wanted."""
        return "mm" if self.turned else self.operator

    @property
    def multiply_adds(self) -> int:
        """Counts the multiply-adds of one row."""
        if self.rows == "never":
            return 0
        return (self.multiplied or self.active) * self.inner * self.outer

    @property
    def weights(self) -> int:
        return self.copies * (self.inner * (not self.tied) + self.bias) * self.outer

    @property
    def active_weights(self) -> int:
        return self.active * (self.inner * (not self.tied) + self.bias) * self.outer


class Square(NamedTuple):
    """A product of every token with every token."""

    name: str
    multiply_adds: int
    """Per pair of tokens, all heads."""
    elements: int
    """Numbers of queries, keys or values that it reads and writes, per token."""
    numbers: int
    """Numbers of the square that an unfused module writes or reads for it, per pair of tokens."""
    over: Literal["tokens", "encoder"] = "tokens"
    """Whose keys: the same tokens', or the encoder's."""
    operator: str = "bmm"


class Irregular(NamedTuple):
    """A product that is no polynomial of the length: a padded convolution, a chunked scan."""

    name: str
    multiply_adds: int
    operator: str = "bmm"
    backward: int | None = None
    """Multiply-adds of its backward pass; None is twice as many, one for each operand."""

    @property
    def backward_multiply_adds(self) -> int:
        return 2 * self.multiply_adds if self.backward is None else self.backward


class Part(Protocol):
    """A mixer or a feed-forward: what closed forms are summed over."""

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        """The matrices of one layer of a model of this width."""

    def vectors(self, width: int) -> int:
        """Parameters that are in no matrix and are no bias of one: norms, sinks, filters."""

    def squares(self) -> tuple[Square, ...]:
        """Products of all tokens with all tokens."""

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        """Products that grow in another way."""

    def cached(self, tokens: int) -> int:
        """Numbers of keys and values kept of so many tokens."""

    def state(self) -> int:
        """Numbers kept whatever the length."""

    def scanned(self) -> int:
        """Numbers of a token that a scan makes besides what matrices give, at most."""


class Stateless:
    """A part that keeps nothing, multiplies no squares and nothing irregular."""

    __slots__ = ()

    def squares(self) -> tuple[Square, ...]:
        return ()

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width, tokens
        return ()

    def cached(self, tokens: int) -> int:
        del tokens
        return 0

    def state(self) -> int:
        return 0

    def scanned(self) -> int:
        return 0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward(Stateless):
    """A feed-forward block, dense or a mixture of experts."""

    inner: int
    """Width of the block, or of one expert; 0: the layer has none."""
    gated: bool = True
    bias: bool = False
    bias_apart: bool = False
    """Biases are added behind the product, not in it (Falcon)."""
    experts: int = 0
    """0: dense."""
    active: int = 0
    """Experts that a token passes through."""
    all_multiplied: bool = False
    """The released module runs every token through every expert (Llama 4)."""
    router_bias: bool = False
    shared: int = 0
    """Width of the experts that every token passes through, together."""
    shared_gate: bool = False
    shared_bias: bool = False
    """Whether the shared experts, and the way into and out of the latent width, have biases."""
    latent: int = 0
    """Width in which the experts work, where it is not the model's (Nemotron 3)."""
    dense_beside: int = 0
    """Width of a dense block beside the experts (Gemma 4)."""
    side: int = 0
    """Width of an input that this layer has of its own (Gemma 4), and comes in behind the block."""
    receptance: bool = False
    """A gate of the block's output, as wide as the model (RWKV)."""
    extra_vectors: int = 0

    @property
    def title(self) -> str:
        """In words: ``128 experts of 768, 8 a token``."""
        gate = "gated, " if self.gated else ""
        if not self.experts:
            return f"{gate}{self.inner} wide"
        words = f"{self.experts} experts of {self.inner}, {self.active} a token"
        if self.shared:
            words += f", {self.shared} shared"
        return words + (f", {self.dense_beside} dense beside" if self.dense_beside else "")

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        ups = 1 + self.gated

        def roles(prefix: str, inner: int) -> tuple[tuple[str, int], ...]:
            names = ("gate", "up") if self.gated else ("up",)
            return tuple((prefix + name, inner) for name in names)

        def block(name: str, inner: int, bias: bool) -> tuple[Matrix, ...]:
            called = "mm" if self.bias_apart else None
            prefix = "" if name == "dense" else f"{name}_"
            up = Matrix(
                f"{name}_up",
                width,
                inner,
                bias,
                ups,
                ups,
                called=called,
                roles=roles(prefix, inner),
            )
            down = ((f"{prefix}down", width),)
            return up, Matrix(f"{name}_down", inner, width, bias, called=called, roles=down)

        if not self.inner:
            return ()
        side: tuple[Matrix, ...] = ()
        if self.receptance:
            side = (Matrix("dense_gate", width, width, roles=(("receptance", width),)),)
        if self.side:
            side = (
                Matrix("side", width, self.side, roles=(("side_in", self.side),)),
                Matrix("side", self.side, width, roles=(("side_out", width),)),
            )
        if not self.experts:
            return *block("dense", self.inner, self.bias), *side
        made = [Matrix("router", width, self.experts, self.router_bias)]
        seen = self.latent or width
        if self.latent:
            into, back = (("latent_in", seen),), (("latent_out", width),)
            made.append(Matrix("latent", width, seen, self.shared_bias, roles=into))
            made.append(Matrix("latent", seen, width, self.shared_bias, roles=back))

        def of_experts(name: str, inner: int, roles: tuple[tuple[str, int], ...]) -> Matrix:
            return Matrix(
                name,
                inner,
                sum(outer for _, outer in roles),
                self.bias,
                self.experts,
                self.active,
                called="bmm",
                multiplied=self.experts * self.all_multiplied,
                roles=roles,
            )

        made.append(of_experts("expert_up", seen, roles("expert_", self.inner)))
        made.append(of_experts("expert_down", self.inner, (("expert_down", seen),)))
        if self.dense_beside:
            made += block("dense", self.dense_beside, self.bias)
        if self.shared:
            made += block("shared", self.shared, self.bias or self.shared_bias)
            if self.shared_gate:
                made.append(Matrix("shared_gate", width, 1, roles=(("shared_switch", 1),)))
        return (*made, *side)

    def vectors(self, width: int) -> int:
        del width
        return self.extra_vectors


NO_FEED_FORWARD = FeedForward(inner=0)


class Layer(NamedTuple):
    """One layer: what mixes tokens, what works on each, and how many norms stand around."""

    mixer: Part | None
    """None: a layer that is a feed-forward alone (Nemotron-H)."""
    feed_forward: FeedForward = NO_FEED_FORWARD
    norms: int = 2
    cross: Attention | None = None
    """Attention over the encoder's output."""
    vectors: int = 0
    """Further parameters of the layer: scales, mixes."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.mixer, self.cross, self.feed_forward) if part)


Groups = tuple[tuple[Layer, int], ...]
"""Equal layers one after another, and how many of them."""


def grouped(layers: Iterable[Layer]) -> Groups:
    """Layers in their order as groups of equal neighbours."""
    groups: list[tuple[Layer, int]] = []
    for layer in layers:
        if groups and groups[-1][0] == layer:
            groups[-1] = (layer, groups[-1][1] + 1)
        else:
            groups.append((layer, 1))
    return tuple(groups)
