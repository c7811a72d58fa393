"""Mamba-2: a state space with one decay a head, computed in chunks as matmuls.

Dao and Gu 2024 (section 6, Listing 1): inside a chunk of 256 tokens a masked square of output and
input matrices, across chunks a state of 64 x 128 a head. Counted: its matrices, the short
convolution, the four matmuls of a chunk, each made for every head as the modules do it; and as
``scan`` the hand-over from chunk to chunk. Left out: exponentials, gate, norm. Transformers'
module hands over by a matmul of all chunks with all (quadratic, if small); the authors' kernel
and this do it one by one. FLOPs and activations grow linearly, the state is constant. No longest
input is given here: we are not sure of one beyond its run times.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import block_pairs, short_convolution
from rmtscale.costs.methods.method import Growth, Method, ceil_div
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Mamba2(Method):
    """State-space duality, chunk by chunk."""

    name = "mamba-2"
    title = "Mamba-2"
    source = "Dao and Gu 2024"
    pretrained = False
    growth = Growth("linear", "constant", "linear")

    expand: int = 2
    head_width: int = 64
    state_size: int = 128
    groups: int = 1
    short_filter: int = 4
    chunk: int = 256

    def _widths(self, model: ModelSpec) -> tuple[int, int, int]:
        """Inner width, heads, channels of the short convolution."""
        inner = self.expand * model.width
        return inner, inner // self.head_width, inner + 2 * self.groups * self.state_size

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        inner, heads, channels = self._widths(model)
        width, layers, states = model.width, model.layers, self.state_size
        chunks = ceil_div(tokens, self.chunk)
        rows, pairs = chunks * self.chunk, block_pairs(tokens, self.chunk, 0)
        by_state = rows * (inner * states * layers)
        handed = chunks * (inner * states * layers)
        elements = rows * ((inner + states * heads) * layers)
        return (
            linear("in", tokens, width, inner + channels + heads, layers),
            short_convolution("short", tokens, channels, self.short_filter, layers),
            bmm(FlopTerm.LOGITS, pairs * (heads * states * layers), elements),
            bmm(FlopTerm.REDUCTION, pairs * (inner * layers), elements),
            bmm("write_state", by_state, elements),
            PassTerm("scan", 2 * handed, None, handed),
            bmm("read_state", by_state, elements),
            linear(FlopTerm.OUTPUT, tokens, inner, width, layers),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        inner, _, channels = self._widths(model)
        numbers = inner * self.state_size + channels * self.short_filter
        return 0 * tokens + numbers * model.layers * dtype_bytes

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Projected input, convolution, scan, norm and product; a state a chunk."""
        inner, heads, channels = self._widths(model)
        states = ceil_div(positions, self.chunk) * (inner * self.state_size)
        return (positions * (4 * inner + 2 * channels + heads) + states) * dtype_bytes
