"""RetNet: attention without softmax, with decay, that is also a recurrence.

Sun et al. 2023 (section 2.3, chunkwise form): inside a chunk of B tokens a square, as attention;
across chunks a state of key x value width a head. Queries and keys are d wide, values, gate and
output 2d, heads 256 (section 3.1). Counted: projections, both parts, the state's update. Left
out: decays, group norm, gate. FLOPs and activations grow linearly, the state is constant. The
paper narrows the feed-forward in exchange for the wide values; here the backbone's stays. Longest
input reported: 8,192 (section 3.3 and 3.4, cost; its perplexity to 2,048).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import block_pairs
from rmtscale.costs.methods.method import FP32_BYTES, Growth, Method, Reported, ceil_div
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class RetNet(Method):
    """Multi-scale retention, chunk by chunk."""

    name = "retnet"
    title = "RetNet"
    source = "Sun et al. 2023"
    pretrained = False
    growth = Growth("linear", "constant", "linear")
    reported = Reported(8_192, "Sun et al. 2023, section 3.3 (cost)")

    chunk: int = 512
    head_width: int = 256

    def _heads(self, model: ModelSpec) -> int:
        return max(1, model.width // self.head_width)

    def _state(self, model: ModelSpec) -> int:
        """Numbers of one layer's state: every head's keys by values."""
        return model.width // self._heads(model) * 2 * model.width

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        width, layers = model.width, model.layers
        rows = ceil_div(tokens, self.chunk) * self.chunk  # the last chunk is padded
        pairs, state = block_pairs(tokens, self.chunk, 0), self._state(model) * layers
        return (
            linear("query_key", tokens, width, width, 2 * layers),
            linear("value_gate", tokens, width, 2 * width, 2 * layers),
            bmm(FlopTerm.LOGITS, pairs * (width * layers), rows * (2 * width * layers)),
            bmm(FlopTerm.REDUCTION, pairs * (2 * width * layers), rows * (4 * width * layers)),
            bmm("read_state", rows * state, rows * (3 * width * layers)),
            bmm("write_state", rows * state, rows * (3 * width * layers)),
            linear(FlopTerm.OUTPUT, tokens, 2 * width, width, layers),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        del dtype_bytes
        return 0 * tokens + self._state(model) * model.layers * FP32_BYTES

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Query, key, value, gate, retention, its norm and product; squares; a state a chunk."""
        chunks = ceil_div(positions, self.chunk)
        tokens = positions * (12 * model.width) + block_pairs(
            positions, self.chunk, 0
        ) * self._heads(model)
        return tokens * dtype_bytes + chunks * (self._state(model) * FP32_BYTES)
