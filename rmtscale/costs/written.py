"""How the modules of a family are written, as far as memory and the host see it.

A shape says what is multiplied. What is kept and what is alive besides depends on how the module
was written down: which tensor a name still holds, what is made in fp32, what is one matrix. Each of
that is an axis here, and a family is a line. A type whose modules are Llama's but for a few axes
says so in its row, and its memory is then known as Llama's is.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec, of_kind


class Written(NamedTuple):
    """The axes of one family."""

    held: int
    """Tensors of model width the forward holds through all layers: embeddings, positions."""
    block_held: int
    """And through a feed-forward: the block's input, the residual, attention's output, the
    norm's."""
    fp32_softmax: bool = False
    """Eager attention takes its softmax in fp32 whatever the dtype, then rounds a copy."""
    fp32_query_key: bool = False
    """Query and key are multiplied in fp32, and the layer's scores before are still there."""
    eager_only: bool = False
    joint_qkv: bool = False
    """One matrix makes query, key and value: a view of the value keeps all three alive."""
    joint_gate: bool = False
    """One matrix makes gate and up-projection."""
    fp32_scores: bool = False
    """The output of experts is weighted in fp32 whatever the dtype."""
    one_mask: bool = False
    """All layers have the same mask; else one with a window stands beside the one without."""
    dropout_behind: bool = False
    """Dropout stands behind the feed-forward block, so behind an adapter beside it, too."""
    positions_of_mask: bool = False
    """Positions are counted from the mask, a row a sample; no dropout after the embedding."""


_LLAMA = Written(held=1, block_held=3, fp32_softmax=True)
_WRITTEN = {
    "gpt2": Written(held=2, block_held=4),
    "gpt_neo": Written(
        held=2, block_held=4, fp32_softmax=True, fp32_query_key=True, eager_only=True
    ),
    "gpt_neox": Written(
        held=1, block_held=3, fp32_softmax=True, joint_qkv=True, dropout_behind=True
    ),
    "opt": Written(
        held=2, block_held=2, fp32_softmax=True, positions_of_mask=True, dropout_behind=True
    ),
    "bert": Written(held=1, block_held=2),
    "llama": _LLAMA,
    "mistral": _LLAMA._replace(one_mask=True, fp32_scores=True),
    "phi3": _LLAMA._replace(one_mask=True, joint_qkv=True, joint_gate=True),
}


def how_written(model: ModelSpec) -> Written:
    """The axes of a model's family.

    Raises:
        BadInput: a family of which they are not known.
    """
    family = model.written_like if isinstance(model, LayeredSpec) else model.kind
    return of_kind(_WRITTEN, family, "how its modules are written is")
