"""Hyena: gates and long convolutions in turn (Poli et al. 2023, section 3, Definition 3.1).

Order 2, as in the paper's language models: three projections with a short convolution each, two
long convolutions by FFT with gates between them, an output projection; a small network of the
position makes the filters. Counted: projections, short and long convolutions, the filter network
(33 features, three layers of 64, as in the released code). Left out: gates, the filter's decay.
FLOPs grow as n log n. There is no recurrent form: to write one more token, everything both
convolutions have read must be kept, so the state grows linearly, as do activations. Longest input
reported: 131K (associative recall, Table 4.2), taken as 131,072.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.methods.matmuls import long_convolution, short_convolution, spectra_bytes
from rmtscale.costs.methods.method import Growth, Method, Reported
from rmtscale.costs.terms import Count, FlopTerm, PassTerm, linear
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Hyena(Method):
    """Long convolutions with data-controlled gates."""

    name = "hyena"
    title = "Hyena"
    source = "Poli et al. 2023"
    pretrained = False
    growth = Growth("n log n", "linear", "linear")
    reported = Reported(131_072, "Poli et al. 2023, Table 4.2 (131K)")

    order: int = 2
    short_filter: int = 3
    features: int = 33
    filter_width: int = 64

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        width, layers, inner = model.width, model.layers, self.filter_width
        channels = (self.order + 1) * width
        return (
            linear("in", tokens, width, channels, layers, bias=True),
            short_convolution("short", tokens, channels, self.short_filter, layers),
            linear("filter_in", tokens, self.features, inner, layers, bias=True),
            linear("filter_inner", tokens, inner, inner, 2 * layers, bias=True),
            linear("filter_out", tokens, inner, self.order * width, layers),
            long_convolution("fft", tokens, width, self.order * layers),
            linear(FlopTerm.OUTPUT, tokens, width, width, layers, bias=True),
        )

    def state_bytes(self, model: ModelSpec, tokens: Count, dtype_bytes: int) -> Count:
        return tokens * (self.order * model.width * model.layers * dtype_bytes)

    def kept_bytes(self, model: ModelSpec, positions: Count, dtype_bytes: int) -> Count:
        """Projections before and after the short filter, each gate's input, the spectra."""
        width = model.width
        tokens = positions * ((2 * (self.order + 1) + 2 * self.order + 1) * width * dtype_bytes)
        return tokens + self.order * spectra_bytes(positions, width)
