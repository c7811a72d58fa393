"""The names of cost terms, and one kind of operation with all that its cost depends on.

Whoever looks for a term (the head, the square of attention) takes its name from here. A method may
give its own operations further names: nothing asks for those.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

Count: TypeAlias = Any
"""An ``int``, or a numpy array of Python integers (``dtype=object``)."""


class FlopTerm(StrEnum):
    """Names of the terms that are counted in FLOPs and seconds."""

    EMBEDDINGS = "embeddings"
    PROJECTION = "projection"
    QKV = "qkv"
    LOGITS = "logits"
    SOFTMAX = "softmax"
    REDUCTION = "reduction"
    OUTPUT = "output"
    DENSE = "dense"
    DENSE_UP = "dense_up"
    DENSE_DOWN = "dense_down"
    DENSE_GATE = "dense_gate"
    ROUTER = "router"
    EXPERT_UP = "expert_up"
    EXPERT_DOWN = "expert_down"
    SHARED_UP = "shared_up"
    SHARED_DOWN = "shared_down"
    SHARED_GATE = "shared_gate"
    LATENT = "latent"
    SIDE = "side"
    INDEX = "index"
    RECURRENT_IN = "recurrent_in"
    RECURRENT_STEP = "recurrent_step"
    RECURRENT_GATE = "recurrent_gate"
    RECURRENT_OUT = "recurrent_out"
    CONVOLUTION = "convolution"
    SCAN = "scan"
    HEAD = "head"
    ADAPTER = "adapter"
    LINEAR = "linear"
    ATTENTION = "attention"
    DROPOUT = "dropout"
    SCALE = "scale"
    BLOCK_WEIGHTS = "2N"
    CONTEXT = "context"


class MemoryTerm(StrEnum):
    """Names of the terms that are counted in bytes."""

    WEIGHTS = "weights"
    BUFFERS = "buffers"
    MASTER_WEIGHTS = "master_weights"
    OPTIMIZER_STATE = "optimizer_state"
    TOKEN_IDS = "token_ids"
    LIBRARY_WORKSPACE = "library_workspace"
    KEYS_AND_VALUES = "keys_and_values"
    GRADIENTS = "gradients"
    SAVED_ATTENTION = "saved_attention"
    SAVED_ACTIVATIONS = "saved_activations"
    LOGITS_AND_LOSS = "logits_and_loss"
    RECURRENT_STATE = "recurrent_state"
    WORKING_SET = "working_set"


ATTENTION_TERMS = (FlopTerm.LOGITS, FlopTerm.REDUCTION)
"""The two matmuls of attention, both factors of which are activations."""
MIXING_TERMS = (
    FlopTerm.QKV,
    *ATTENTION_TERMS,
    FlopTerm.OUTPUT,
    FlopTerm.INDEX,
    FlopTerm.RECURRENT_IN,
    FlopTerm.RECURRENT_STEP,
    FlopTerm.RECURRENT_GATE,
    FlopTerm.RECURRENT_OUT,
    FlopTerm.CONVOLUTION,
    FlopTerm.SCAN,
)
"""Terms of the ``matmul`` convention that a method exchanges."""


class PassTerm(NamedTuple):
    """One kind of operation in one pass over one sequence, summed over all layers."""

    name: str
    """A ``FlopTerm``, or what a method calls an operation of its own."""
    flops: Count
    operator: str | None = None
    """The aten operator of the forward pass, in the ``matmul`` convention; None for an FFT or an
    elementwise scan, which no FLOP counter sees."""
    elements: Count = 0
    """Numbers that have to be read or written once, weights and squares apart."""
    weights: int = 0
    """Numbers in its weight matrices: read once, whatever the batch."""
    square: Count = 0
    """Numbers of the attention square that are moved, unless a fused kernel forms none."""
    in_block: bool = True
    """Inside the blocks, so computed again under one checkpoint per layer."""
    once: bool = False
    """Once a sample, behind the last pass, and outside any checkpoint (classification head)."""
    backward_flops: Count | None = None
    """FLOPs of its backward pass; None: twice those of the forward pass."""
    trained_operator: str | None = None
    """The operator where a gradient is wanted, if torch then takes another."""
    all_weights: int = 0
    """Numbers of all experts' matrices: several sequences read more of them than one does."""
    window: int = 0
    """How far back a fused kernel of this attention looks; 0: to the start."""
    causal: bool = True
    """Whether it is an attention square: a fused kernel skips what lies above the diagonal."""


def linear(
    name: str,
    rows: Count,
    inner: int,
    columns: int,
    times: int = 1,
    *,
    bias: bool = False,
    in_block: bool = True,
    once: bool = False,
) -> PassTerm:
    """Returns ``times`` linear layers over ``rows`` positions each."""
    return PassTerm(
        name,
        2 * rows * (inner * columns * times),
        "addmm" if bias else "mm",
        rows * ((inner + columns) * times),
        inner * columns * times,
        0,
        in_block,
        once,
    )


def bmm(name: str, multiply_adds: Count, elements: Count) -> PassTerm:
    """Returns a matmul of two activations."""
    return PassTerm(name, 2 * multiply_adds, "bmm", elements)
