"""Compressive Transformer: a Transformer-XL whose old memories are compressed and kept.

Rae et al. 2020 (section 3, Algorithm 1): hidden states that leave the memory are compressed c to
one by a strided convolution in every layer and stay in a second memory. Counted: Transformer-XL
with both memories, and the convolution. Left out: softmax, the reconstruction loss that trains the
compression. Sizes and rate are settings (a language model's, as we remember them). FLOPs grow
linearly; state and activations are constant. The paper reports temporal ranges of its memories,
not longest inputs, so none is given here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rmtscale.costs.methods.method import Reported
from rmtscale.costs.methods.transformer_xl import TransformerXL
from rmtscale.costs.terms import Count, PassTerm
from rmtscale.specs.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Compressive(TransformerXL):
    """Segment recurrence with a memory and a compressed memory."""

    name = "compressive"
    title = "Compressive Transformer"
    source = "Rae et al. 2020"
    reported: ClassVar[Reported | None] = None

    segment: int = 512
    memory: int = 512
    compressed: int = 512
    rate: int = 2
    """Hidden states that become one."""

    def remembered(self) -> int:
        return self.memory + self.compressed

    def mixing(self, model: ModelSpec, tokens: Count) -> tuple[PassTerm, ...]:
        # A segment that is complete pushes as many states out of the memory as it has tokens.
        made = tokens // self.segment * (self.segment // self.rate)
        weights = self.rate * model.width * model.width * model.layers
        elements = made * ((self.rate + 1) * model.width * model.layers)
        compress = PassTerm("compress", 2 * made * weights, "convolution", elements, weights)
        return (*TransformerXL.mixing(self, model, tokens), compress)
