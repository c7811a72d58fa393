"""One layer: what mixes tokens, its feed-forward, and how many norms stand around them.

Every closed form is a sum over a layer's parts (``parts``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from rmtscale.specs.attention import Attention
from rmtscale.specs.parts import Matrix, Part, Stateless


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward(Stateless):
    """A feed-forward block, dense or a mixture of experts."""

    inner: int
    """Width of the block, or of one expert; 0: the layer has none."""
    gated: bool = True
    bias: bool = False
    bias_apart: bool = False
    """Biases are added behind the product, not in it (Falcon)."""
    experts: int = 0
    """0: dense."""
    active: int = 0
    """Experts that a token passes through."""
    all_multiplied: bool = False
    """The released module runs every token through every expert (Llama 4)."""
    router_bias: bool = False
    shared: int = 0
    """Width of the experts that every token passes through, together."""
    shared_gate: bool = False
    shared_bias: bool = False
    """Whether the shared experts, and the way into and out of the latent width, have biases."""
    latent: int = 0
    """Width in which the experts work, where it is not the model's (Nemotron 3)."""
    dense_beside: int = 0
    """Width of a dense block beside the experts (Gemma 4)."""
    side: int = 0
    """Width of an input that this layer has of its own (Gemma 4), and comes in behind the block."""
    receptance: bool = False
    """A gate of the block's output, as wide as the model (RWKV)."""
    extra_vectors: int = 0

    @property
    def title(self) -> str:
        """In words: ``128 experts of 768, 8 a token``."""
        gate = "gated, " if self.gated else ""
        if not self.experts:
            return f"{gate}{self.inner} wide"
        words = f"{self.experts} experts of {self.inner}, {self.active} a token"
        if self.shared:
            words += f", {self.shared} shared"
        return words + (f", {self.dense_beside} dense beside" if self.dense_beside else "")

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        ups = 1 + self.gated

        def roles(prefix: str, inner: int) -> tuple[tuple[str, int], ...]:
            names = ("gate", "up") if self.gated else ("up",)
            return tuple((prefix + name, inner) for name in names)

        def block(name: str, inner: int, bias: bool) -> tuple[Matrix, ...]:
            called = "mm" if self.bias_apart else None
            prefix = "" if name == "dense" else f"{name}_"
            up = Matrix(
                f"{name}_up",
                width,
                inner,
                bias,
                ups,
                ups,
                called=called,
                roles=roles(prefix, inner),
            )
            down = ((f"{prefix}down", width),)
            return up, Matrix(f"{name}_down", inner, width, bias, called=called, roles=down)

        if not self.inner:
            return ()
        side: tuple[Matrix, ...] = ()
        if self.receptance:
            side = (Matrix("dense_gate", width, width, roles=(("receptance", width),)),)
        if self.side:
            side = (
                Matrix("side", width, self.side, roles=(("side_in", self.side),)),
                Matrix("side", self.side, width, roles=(("side_out", width),)),
            )
        if not self.experts:
            return *block("dense", self.inner, self.bias), *side
        made = [Matrix("router", width, self.experts, self.router_bias)]
        seen = self.latent or width
        if self.latent:
            into, back = (("latent_in", seen),), (("latent_out", width),)
            made.append(Matrix("latent", width, seen, self.shared_bias, roles=into))
            made.append(Matrix("latent", seen, width, self.shared_bias, roles=back))

        def of_experts(name: str, inner: int, roles: tuple[tuple[str, int], ...]) -> Matrix:
            return Matrix(
                name,
                inner,
                sum(outer for _, outer in roles),
                self.bias,
                self.experts,
                self.active,
                called="bmm",
                multiplied=self.experts * self.all_multiplied,
                roles=roles,
            )

        made.append(of_experts("expert_up", seen, roles("expert_", self.inner)))
        made.append(of_experts("expert_down", self.inner, (("expert_down", seen),)))
        if self.dense_beside:
            made += block("dense", self.dense_beside, self.bias)
        if self.shared:
            made += block("shared", self.shared, self.bias or self.shared_bias)
            if self.shared_gate:
                made.append(Matrix("shared_gate", width, 1, roles=(("shared_switch", 1),)))
        return (*made, *side)

    def vectors(self, width: int) -> int:
        del width
        return self.extra_vectors


NO_FEED_FORWARD = FeedForward(inner=0)


class Layer(NamedTuple):
    """One layer: what mixes tokens, what works on each, and how many norms stand around."""

    mixer: Part | None
    """None: a layer that is a feed-forward alone (Nemotron-H)."""
    feed_forward: FeedForward = NO_FEED_FORWARD
    norms: int = 2
    cross: Attention | None = None
    """Attention over the encoder's output."""
    vectors: int = 0
    """Further parameters of the layer: scales, mixes."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.mixer, self.cross, self.feed_forward) if part)


Groups = tuple[tuple[Layer, int], ...]
"""Equal layers one after another, and how many of them."""


def grouped(layers: Iterable[Layer]) -> Groups:
    """Layers in their order as groups of equal neighbours."""
    groups: list[tuple[Layer, int]] = []
    for layer in layers:
        if groups and groups[-1][0] == layer:
            groups[-1] = (layer, groups[-1][1] + 1)
        else:
            groups.append((layer, 1))
    return tuple(groups)
