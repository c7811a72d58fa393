"""Mamba: a state space whose step, input and output depend on the token.

Gu and Dao 2023 (section 3, Algorithm 2, Figure 3): a layer twice as wide as the model, a short
convolution, a selective scan with 16 states a channel, a gate. Counted: its matrices, the
convolution (on the padded input, as the module runs it), the product of state and output matrix;
and as ``scan`` the five multiplications and additions per state that the recurrence takes. Left
out: exponentials, gates. FLOPs and activations grow linearly (the kernel recomputes the states in
the backward pass), the state is constant. In the paper two such layers stand for one of attention
and feed-forward; here one stands for attention. Longest input reported: 1,048,576 (section 4.1.2,
induction heads).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import short_convolution
from rmtscale.costs.methods.method import Growth, Method, Reported, ceil_div
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, bmm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Mamba(Method):
    """The selective state space of Mamba."""

    name = "mamba"
    title = "Mamba"
    source = "Gu and Dao 2023"
    pretrained = False
    growth = Growth("linear", "constant", "linear")
    reported = Reported(1_048_576, "Gu and Dao 2023, section 4.1.2 (induction heads)")

    expand: int = 2
    state_size: int = 16
    short_filter: int = 4

    def _widths(self, model: ModelSpec) -> tuple[int, int]:
        """Inner width, and rank of the step."""
        return self.expand * model.width, ceil_div(model.width, 16)

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        inner, rank = self._widths(model)
        width, layers, states = model.width, model.layers, self.state_size
        scanned = tokens * (inner * states * layers)
        return (
            linear("in", tokens, width, 2 * inner, layers),
            short_convolution("short", tokens, inner, self.short_filter, layers),
            linear("step_input_output", tokens, inner, rank + 2 * states, layers),
            linear("step", tokens, rank, inner, layers),
            PassTerm("scan", 5 * scanned, None, tokens * (2 * inner * layers)),
            bmm("read_state", scanned, tokens * ((inner + states) * layers)),
            linear(FlopTerm.OUTPUT, tokens, inner, width, layers),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        inner, _ = self._widths(model)
        numbers = inner * (self.state_size + self.short_filter) * model.layers
        return 0 * tokens + numbers * dtype_bytes

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Both halves of the input, the convolution, the step, the scan, the gated product."""
        inner, rank = self._widths(model)
        return positions * ((6 * inner + rank + 2 * self.state_size) * dtype_bytes)
