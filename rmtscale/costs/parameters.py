"""Parameters of a model, counted from its shape; equal to the real module's, as integers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.layered import layered_matrix_weights, layered_parameters
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence


@lru_cache(maxsize=1024)
def count_parameters(model: ModelSpec) -> Breakdown:
    """Parameters by part; a head that is tied to the embedding counts once, in the embedding."""
    if isinstance(model, LayeredSpec):
        return _breakdown(layered_parameters(model))
    width, norm = model.width, (2 if model.norm == "layer" else 1) * model.width
    embedding = model.vocabulary * model.embedding_width
    parts = {
        "embedding": embedding,
        "positions": (model.position_rows + model.token_types) * width,
        "embedding_projection": 2 * model.embedding_width * width * model.projected_embedding,
        "attention": model.layers * _attention(model),
        "feed_forward": model.layers * _feed_forward(model),
        "norms": (2 * model.layers + model.final_norm + model.embedding_norm) * norm,
        "head": 0,
    }
    if model.head == "classification":  # BERT: a pooler, then the classifier
        parts["head"] = (width + 1) * width + (width + 1) * model.labels
    elif not model.tied_head:
        parts["head"] = embedding
    return _breakdown(parts)


def active_parameters(model: ModelSpec) -> int:
    """Parameters that one token passes through: of a mixture of experts, those chosen for it."""
    if isinstance(model, LayeredSpec):
        return sum(layered_parameters(model, active=True).values())
    return count_parameters(model).total


def _breakdown(parts: Mapping[str, int]) -> Breakdown:
    return Breakdown(tuple(Term("weights", name, amount) for name, amount in parts.items()))


def memory_parameters(model: ModelSpec, recurrence: Recurrence) -> int:
    """Trainable parameters an RMT adds: the first memory, m vectors as wide as the embedding."""
    return recurrence.memory_tokens * model.embedding_width


@lru_cache(maxsize=1024)
def block_matrix_weights(model: ModelSpec, *, every: bool = False) -> int:
    """Weights of the matrices inside the blocks: N of Kaplan et al. 2020, equation 2.1.

    No embeddings, no head, no biases or norms. Of experts those that a token passes through, or
    ``every`` one.
    """
    if isinstance(model, LayeredSpec):
        return layered_matrix_weights(model, every=every)
    attention = 2 * model.width * (model.query_width + model.kv_width)
    return model.layers * (attention + (2 + model.gated_mlp) * model.width * model.mlp_width)


def _attention(model: ModelSpec) -> int:
    width, query, kv = model.width, model.query_width, model.kv_width
    biases = model.qkv_bias * (query + 2 * kv) + model.output_bias * width
    return width * (query + 2 * kv) + query * width + biases


def _feed_forward(model: ModelSpec) -> int:
    ups = 2 if model.gated_mlp else 1
    biases = model.mlp_bias * (ups * model.mlp_width + model.width)
    return (ups + 1) * model.width * model.mlp_width + biases
