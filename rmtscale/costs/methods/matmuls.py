"""The pieces methods are built of: linear layers, attention over some pairs, FFT convolutions.

Shapes: s tokens, d width, q = heads x head width, h heads. A *pair* is one query of one token with
one key; attention multiplies each pair twice (logits, reduction), 2 x head width FLOPs a head.
"""

from __future__ import annotations

from abc import abstractmethod

from rmtscale.costs.methods.method import FP32_BYTES, Growth, Method, ceil_div, ceil_log2, smaller
from rmtscale.costs.terms import ATTENTION_TERMS, Count, FlopTerm, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


def projections(model: ModelSpec, rows: Count, key_rows: Count | None = None) -> list[PassTerm]:
    """Query, key, value and output of every layer; keys of ``key_rows`` positions if others."""
    width, query, kv, layers = model.width, model.query_width, model.kv_width, model.layers
    output = linear(FlopTerm.OUTPUT, rows, query, width, layers, bias=model.output_bias)
    if key_rows is None:
        qkv = linear(FlopTerm.QKV, rows, width, query + 2 * kv, layers, bias=model.qkv_bias)
        return [qkv, output]
    return [
        linear("query", rows, width, query, layers, bias=model.qkv_bias),
        linear("key_value", key_rows, width, 2 * kv, layers, bias=model.qkv_bias),
        output,
    ]


def attend(
    model: ModelSpec, pairs: Count, rows: Count, layers: int | None = None, name: str = ""
) -> list[PassTerm]:
    """Logits and reduction over ``pairs`` of each of ``layers`` (all), all heads."""
    layers = model.layers if layers is None else layers
    elements = rows * (layers * (model.query_width + model.kv_width))
    multiply_adds = pairs * (layers * model.query_width)
    return [bmm(f"{name}{part}", multiply_adds, elements) for part in ATTENTION_TERMS]


def block_pairs(tokens: Count, block: int, neighbours: int) -> Count:
    """Pairs where every block of queries sees its own and ``neighbours`` other blocks of keys.

    The form a blocked implementation multiplies: the last block is padded, and so are the
    neighbours that are not there.
    """
    return ceil_div(tokens, block) * (block * block * (1 + neighbours))


def cache_bytes(model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
    """Keys and values of ``tokens`` in every layer."""
    return tokens * (2 * model.layers * model.kv_width * dtype_bytes)


def output_bytes(model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
    """An encoder's output."""
    return tokens * (model.width * dtype_bytes)


def fft_flops(size: Count) -> Count:
    """One FFT of ``size`` real numbers: 5/2 n log2 n (radix 2, half of the complex one)."""
    return 5 * size * ceil_log2(size) // 2


def long_convolution(name: str, tokens: Count, channels: int, times: int) -> PassTerm:
    """``times`` causal convolutions as long as the input, over ``channels``, by FFT.

    Padded to twice the length so that the end does not wrap around: two transforms there (input
    and filter), one back, and a complex product (6 FLOPs) of the spectra.
    """
    size = 2 * tokens
    flops = 3 * fft_flops(size) + 6 * (size // 2 + 1)
    return PassTerm(name, flops * (channels * times), None, 3 * tokens * (channels * times))


def short_convolution(name: str, tokens: Count, channels: int, size: int, layers: int) -> PassTerm:
    """A causal depthwise convolution, over the padded input as ``nn.Conv1d`` runs it."""
    rows = tokens + size - 1
    weights = channels * size * layers
    return PassTerm(
        name, 2 * rows * weights, "convolution", 2 * tokens * channels * layers, weights
    )


def spectra_bytes(tokens: Count, channels: int) -> Count:
    """Counts what one convolution by FFT keeps: two spectra of tokens + 1 complex numbers, fp32."""
    return 2 * (tokens + 1) * (2 * channels * FP32_BYTES)


class Attention(Method):
    """A transformer's own attention, over fewer pairs: all that differs is which."""

    __slots__ = ()
    keeps_scores = False
    """Whether probabilities wait for the backward pass; a fused kernel keeps none."""

    @abstractmethod
    def pairs(self, model: ModelSpec, positions: Count) -> Count:
        """Pairs of one layer."""

    def cached_tokens(self, tokens: Count) -> Count:
        """Tokens whose keys and values the next one may still look at."""
        return tokens

    def growth_on(self, model: ModelSpec) -> Growth:
        """An encoder keeps its output, whatever window it has."""
        return self.growth if model.decoder else self.growth._replace(state="linear")

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        rows = self.positions(model, tokens)
        return (*projections(model, rows), *attend(model, self.pairs(model, tokens), rows))

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        if not model.decoder:
            return output_bytes(model, tokens, dtype_bytes)
        return cache_bytes(model, self.cached_tokens(tokens), dtype_bytes)

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        kept = positions * ((2 * model.query_width + 2 * model.kv_width) * dtype_bytes)
        if self.keeps_scores:
            return kept + self.pairs(model, positions) * (model.heads * dtype_bytes)
        return kept + positions * (model.heads * FP32_BYTES)


def band_pairs(tokens: Count, window: int) -> Count:
    """Pairs where every query sees ``window`` keys, itself included, or all there are."""
    return tokens * smaller(tokens, window)
