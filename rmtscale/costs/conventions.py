"""Four ways to count the FLOPs of one forward pass. One multiply-add is two FLOPs.

Attention is never halved for causality: the released modules multiply the whole square, GPT-Neo's
local layers included.

Symbols: s tokens, d width, k head width, h heads, g key/value heads, e embedding width, V
vocabulary, L layers, f feed-forward width. For every model with g = h, e = d and f = 4d the terms
reduce to the published formulas; grouped queries, gated feed-forwards and projected embeddings
are counted at the size that their matrices really have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from rmtscale.costs.layered import layered_terms
from rmtscale.costs.parameters import block_matrix_weights
from rmtscale.costs.terms import MIXING_TERMS, Count, FlopTerm, PassTerm, linear
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec

CONVENTIONS = ("hoffmann", "matmul", "kaplan", "paper")
DEFAULT_CONVENTION = "hoffmann"
SOURCES = {
    "hoffmann": "Hoffmann et al. 2022, Appendix F; every segment at its true size",
    "matmul": "what the real modules multiply, operator by operator",
    "kaplan": "Kaplan et al. 2020, 2N + 2*L*s*d a token; no embeddings, no head",
    "paper": "Bulatov et al. 2024, Figure 2; memory tokens are free",
}


def _matrix_flops(model: ModelSpec, tokens: int) -> dict[str, int]:
    """FLOPs of a block's matrices over ``tokens``, all layers."""
    per_weight = 2 * tokens * model.layers * model.width
    return {
        "qkv": per_weight * (model.query_width + 2 * model.kv_width),
        "output": per_weight * model.query_width,
        "dense_up": per_weight * model.mlp_width * (1 + model.gated_mlp),
        "dense_down": per_weight * model.mlp_width,
    }


def _projection(model: ModelSpec, tokens: Count) -> PassTerm:
    """OPT-350M's way into and out of the model's width."""
    times = 2 * model.projected_embedding
    widths = model.embedding_width, model.width
    return linear(FlopTerm.PROJECTION, tokens, *widths, times, in_block=False)


def _head(model: ModelSpec, tokens: Count) -> PassTerm:
    """The head: a matmul with the vocabulary, or a pooler and a classifier on one position."""
    if model.head == "classification":
        columns = model.width + model.labels
        return linear(FlopTerm.HEAD, 1, model.width, columns, bias=True, in_block=False, once=True)
    return linear(FlopTerm.HEAD, tokens, model.embedding_width, model.vocabulary, in_block=False)


def _layered_squares(terms: tuple[PassTerm, ...]) -> int:
    """Numbers in all squares of attention, one a head and pair."""
    return sum(term.square for term in terms if term.name == FlopTerm.REDUCTION)


def hoffmann_terms(model: ModelSpec, tokens: int, _text_tokens: int) -> tuple[PassTerm, ...]:
    """Hoffmann et al. 2022 (arXiv 2203.15556), Appendix F, term by term.

    Embeddings 2sVd (a product with a one-hot matrix); QKV 2*3*s*d*(k*h); logits 2*s^2*(k*h);
    softmax 3*h*s^2; reduction 2*s^2*(k*h); output 2*s*(k*h)*d; dense 2*s*(f*d + f*d); head 2sdV.
    """
    embeddings = PassTerm(
        FlopTerm.EMBEDDINGS,
        2 * tokens * model.vocabulary * model.embedding_width,
        in_block=False,
    )
    if isinstance(model, LayeredSpec):
        terms = layered_terms(model, tokens, tokens)
        return (embeddings, *terms, PassTerm(FlopTerm.SOFTMAX, 3 * _layered_squares(terms)))
    matrices = _matrix_flops(model, tokens)
    square = model.layers * tokens * tokens
    return (
        embeddings,
        _projection(model, tokens),
        PassTerm(FlopTerm.QKV, matrices["qkv"]),
        PassTerm(FlopTerm.LOGITS, 2 * square * model.query_width),
        PassTerm(FlopTerm.SOFTMAX, 3 * square * model.heads),
        PassTerm(FlopTerm.REDUCTION, 2 * square * model.query_width),
        PassTerm(FlopTerm.OUTPUT, matrices["output"]),
        PassTerm(FlopTerm.DENSE, matrices["dense_up"] + matrices["dense_down"]),
        _head(model, tokens),
    )


def matmul_terms(model: ModelSpec, tokens: int, text_tokens: int) -> tuple[PassTerm, ...]:
    """Counts what the real module multiplies, by aten operator, as torch's FLOP counter sees it.

    A linear layer with a bias is one ``addmm``, without one ``mm``; attention (eager) two
    ``bmm``. A language-model head is applied to text positions only.
    """
    if isinstance(model, LayeredSpec):
        return layered_terms(model, tokens, text_tokens)
    width, query, kv, layers = model.width, model.query_width, model.kv_width, model.layers
    square = layers * tokens * tokens
    attention, elements = 2 * square * query, layers * tokens * (query + kv)
    scores = square * model.heads  # written, and once more through the softmax
    projection, *rest = outer_terms(model, tokens, text_tokens)
    return (
        projection,
        linear(FlopTerm.QKV, tokens, width, query + 2 * kv, layers, bias=model.qkv_bias),
        PassTerm(FlopTerm.LOGITS, attention, "bmm", elements, 0, 3 * scores),
        PassTerm(FlopTerm.REDUCTION, attention, "bmm", elements, 0, scores),
        linear(FlopTerm.OUTPUT, tokens, query, width, layers, bias=model.output_bias),
        *rest,
    )


def outer_terms(model: ModelSpec, tokens: Count, text_tokens: Count) -> tuple[PassTerm, ...]:
    """Returns the terms of ``matmul`` that a method leaves as they are.

    They are the embedding's projection, the feed-forward blocks and the head.
    """
    if isinstance(model, LayeredSpec):
        terms = layered_terms(model, tokens, text_tokens)
        return tuple(term for term in terms if term.name not in MIXING_TERMS)
    width, inner, layers, bias = model.width, model.mlp_width, model.layers, model.mlp_bias
    up = layers * (1 + model.gated_mlp)
    return (
        _projection(model, tokens),
        linear(FlopTerm.DENSE_UP, tokens, width, inner, up, bias=bias),
        linear(FlopTerm.DENSE_DOWN, tokens, inner, width, layers, bias=bias),
        _head(model, text_tokens),
    )


def kaplan_terms(model: ModelSpec, tokens: int, _text_tokens: int) -> tuple[PassTerm, ...]:
    """Kaplan et al. 2020 (arXiv 2001.08361), equation 2.2: 2N + 2*L*s*d FLOPs a token.

    N is the matrices of the blocks; no embeddings, no head.
    """
    context = 2 * model.layers * tokens * tokens * model.query_width
    if isinstance(model, LayeredSpec):
        terms = layered_terms(model, tokens, tokens)
        context = sum(term.flops for term in terms if term.name == FlopTerm.LOGITS)
    return (
        PassTerm(FlopTerm.BLOCK_WEIGHTS, 2 * tokens * block_matrix_weights(model)),
        PassTerm(FlopTerm.CONTEXT, context),
    )


def paper_terms(model: ModelSpec, tokens: int, _text_tokens: int) -> tuple[PassTerm, ...]:
    """Figure 2 of Bulatov et al. 2024 (arXiv 2304.11062).

    L*(24*s*d^2 + s^2*(4*d + 10*h)) + 2*s*V*d: the 10 is softmax 5, dropout 4, scale 1.
    """
    if isinstance(model, LayeredSpec):
        terms = layered_terms(model, tokens, tokens)
        square = _layered_squares(terms)
        return (
            *terms,
            PassTerm(FlopTerm.SOFTMAX, 5 * square),
            PassTerm(FlopTerm.DROPOUT, 4 * square),
            PassTerm(FlopTerm.SCALE, square),
        )
    matrices = _matrix_flops(model, tokens)
    square = model.layers * tokens * tokens
    return (
        _projection(model, tokens),
        PassTerm(FlopTerm.LINEAR, sum(matrices.values())),
        PassTerm(FlopTerm.ATTENTION, 4 * square * model.query_width),
        PassTerm(FlopTerm.SOFTMAX, 5 * square * model.heads),
        PassTerm(FlopTerm.DROPOUT, 4 * square * model.heads),
        PassTerm(FlopTerm.SCALE, square * model.heads),
        _head(model, tokens),
    )


TERMS_OF: dict[str, Callable[[ModelSpec, int, int], tuple[PassTerm, ...]]] = {
    "hoffmann": hoffmann_terms,
    "matmul": matmul_terms,
    "kaplan": kaplan_terms,
    "paper": paper_terms,
}
"""How each convention counts one pass: of a model, its tokens and its text tokens."""


@lru_cache(maxsize=65536)
def pass_terms(
    convention: str, model: ModelSpec, tokens: int, text_tokens: int
) -> tuple[PassTerm, ...]:
    """The terms of one forward pass of one sequence that are not zero."""
    terms = TERMS_OF[convention](model, tokens, text_tokens)
    return tuple(term for term in terms if term.flops)
