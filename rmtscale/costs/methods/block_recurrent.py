"""Block-Recurrent Transformer: one layer also carries state vectors from block to block.

Hutchins et al. 2022 (section 3): every layer attends in blocks of W tokens to itself and the block
before (2W keys); in one layer tokens also attend to S state vectors, and the state attends to
itself and to the block, then passes a gate ("skip" form: no feed-forward of its own). Keys and
values of tokens, and of the state, serve both directions; queries are separate. Counted: all of
it. Left out: softmax, biases and element-wise work of the gate. FLOPs and activations of a
training segment grow linearly; the state is constant. No longest input is given here: the paper
reads whole books and trains on segments of 4,096, but reports no length as such.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import attend, block_pairs, cache_bytes, projections
from rmtscale.costs.methods.method import Growth, Method, ceil_div, smaller
from rmtscale.costs.terms import Count, PassTerm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class BlockRecurrent(Method):
    """Sliding blocks, and a recurrent cell in one layer."""

    name = "block-recurrent"
    title = "Block-Recurrent"
    source = "Hutchins et al. 2022"
    pretrained = False
    growth = Growth("linear", "constant", "constant")

    block: int = 512
    state_vectors: int = 512
    segment: int = 4096
    """Tokens a gradient flows through in training."""

    def at_once(self, model: ModelSpec, tokens: Count, *, train: bool) -> Count:
        del model
        return smaller(tokens, self.segment if train else self.block)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        near, states = block_pairs(tokens, self.block, 1), self.state_vectors
        rows = ceil_div(tokens, self.block) * states  # state vectors computed in all
        width, query, kv = model.width, model.query_width, model.kv_width
        bias = model.qkv_bias
        across = rows * self.block
        return (
            *projections(model, tokens),
            *attend(model, near, tokens),
            linear("cross_query", tokens, width, query, bias=bias),
            *attend(model, across, tokens, 1, "cross_"),
            linear("cross_output", tokens, query, width),
            linear("state_qkv", rows, width, 2 * query + 2 * kv, bias=bias),
            *attend(model, across + rows * states, rows, 1, "state_"),
            linear("state_output", rows, 2 * query, width, bias=model.output_bias),
            linear("gate", rows, width, width),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        """The state vectors, and keys and values of the open block and the one before."""
        vectors = self.state_vectors * model.width * dtype_bytes
        return vectors + cache_bytes(model, smaller(tokens, 2 * self.block), dtype_bytes)

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Counts a layer without the cell; the cell's layer keeps about twice that."""
        rows = positions * (2 * model.query_width + 2 * model.kv_width)
        return (rows + block_pairs(positions, self.block, 1) * model.heads) * dtype_bytes
