"""S4: a linear state space over every channel, applied as one long convolution.

Gu et al. 2022 (sections 2.3 and 3): training and prefill make a kernel as long as the input from
N-dimensional diagonal-plus-low-rank states, convolve it with every channel by FFT, then mix
channels (here the released layer's gated linear unit, d to 2d). Counted: the kernel (N/2 complex
multiply-adds, 8 FLOPs each, per position and channel), FFTs, the output layer. Left out: gates,
skip connection, the low-rank correction. FLOPs grow as n log n, activations linearly; the state is
N numbers a channel (fp32), so constant. Longest input reported: 16,384 (Path-X, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import long_convolution, spectra_bytes
from rmtscale.costs.methods.method import FP32_BYTES, Growth, Method, Reported
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class S4(Method):
    """A structured state space, as a convolution."""

    name = "s4"
    title = "S4"
    source = "Gu et al. 2022"
    pretrained = False
    growth = Growth("n log n", "constant", "linear")
    reported = Reported(16_384, "Gu et al. 2022, section 4.2 (Path-X)")

    state_size: int = 64

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        channels = model.width * model.layers
        kernel = tokens * (8 * (self.state_size // 2) * channels)
        return (
            PassTerm("kernel", kernel, None, tokens * channels),
            long_convolution("fft", tokens, model.width, model.layers),
            linear(FlopTerm.OUTPUT, tokens, model.width, 2 * model.width, model.layers, bias=True),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        del dtype_bytes
        return 0 * tokens + self.state_size * model.width * model.layers * FP32_BYTES

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Both spectra; input, activation's input and output, and both halves of the gate."""
        tokens = positions * (5 * model.width * dtype_bytes)
        return tokens + spectra_bytes(positions, model.width)
