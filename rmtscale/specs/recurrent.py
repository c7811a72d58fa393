"""Layers that mix tokens by a recurrence: state spaces, the delta rule, linear recurrences.

Products are those of the released modules without fused kernels: convolutions over the padded
input, scans in chunks that are filled up. A fused kernel multiplies about as much.

Symbols: s tokens, d width of the model, k width of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.specs.parts import Irregular, Matrix, Stateless


def _convolution(channels: int, kernel: int, tokens: int) -> Irregular:
    """A causal depthwise convolution, which is computed over the padded input."""
    return Irregular("convolution", (tokens + kernel - 1) * channels * kernel, "convolution")


def _matrix(
    role: str, inner: int, outer: int, bias: bool = False, *, turned: bool = False
) -> Matrix:
    """A matrix that is one module; what selects (``x``) and its step are one term of the cost."""
    name = "recurrent_step" if role == "recurrent_x" else role
    return Matrix(name, inner, outer, bias, turned=turned, roles=((role, outer),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba(Stateless):
    """A selective state space (Gu and Dao 2023)."""

    inner: int
    states: int
    """States of one channel."""
    rank: int
    """Rank of the step's projection."""
    kernel: int
    bias: bool = False
    convolution_bias: bool = True
    norms: bool = False
    """Whether step, input and output matrix have norms (Jamba)."""

    @property
    def title(self) -> str:
        return f"Mamba, {self.inner} channels of {self.states} states"

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        return (
            _matrix("recurrent_in", width, 2 * self.inner, self.bias),
            # Channels come first from here on; the step's bias is added apart.
            _matrix("recurrent_x", self.inner, self.rank + 2 * self.states, turned=True),
            _matrix("recurrent_step", self.rank, self.inner, turned=True),
            _matrix("recurrent_out", self.inner, width, self.bias, turned=True),
        )

    def vectors(self, width: int) -> int:
        del width
        convolution = self.inner * (self.kernel + self.convolution_bias)
        scan = self.inner * (self.states + 2)  # A, D and the step's bias
        return convolution + scan + self.norms * (self.rank + 2 * self.states)

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width
        return (
            _convolution(self.inner, self.kernel, tokens),
            Irregular("scan", tokens * self.inner * self.states),
        )

    def state(self) -> int:
        return self.inner * (self.states + self.kernel)

    def scanned(self) -> int:
        return self.inner * (6 * self.states + 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2(Stateless):
    """A state space with one decay a head, in chunks (Dao and Gu 2024)."""

    heads: int
    head_width: int
    groups: int
    """Groups of input and output matrices, which several heads share."""
    states: int
    kernel: int
    chunk: int
    inner: int
    """Width of the gate and of the norm: heads x head width in all that are released."""
    bias: bool = False
    convolution_bias: bool = True

    @property
    def title(self) -> str:
        return f"Mamba 2, {self.heads} heads of {self.head_width}, {self.states} states"

    @property
    def channels(self) -> int:
        return self.inner + 2 * self.groups * self.states

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        projected = self.inner + self.channels + self.heads
        return (
            _matrix("recurrent_in", width, projected, self.bias),
            _matrix("recurrent_out", self.inner, width, self.bias),
        )

    def vectors(self, width: int) -> int:
        del width
        convolution = self.channels * (self.kernel + self.convolution_bias)
        return convolution + 3 * self.heads + self.inner  # A, D, step; the gated norm

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width
        count, size, head = -(-tokens // self.chunk), self.chunk, self.head_width
        within = count * size * size * (self.states + head)
        states = 2 * count * size * self.states * head
        between = (count + 1) ** 2 * self.states * head
        return (
            _convolution(self.channels, self.kernel, tokens),
            Irregular("scan", self.heads * (within + states + between)),
        )

    def state(self) -> int:
        return self.heads * self.head_width * self.states + self.channels * self.kernel

    def scanned(self) -> int:
        squares = 5 * self.chunk + 6 * self.head_width + 6 * self.states
        return self.heads * squares + 4 * self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRule(Stateless):
    """The gated delta rule, in chunks of 64 (Yang et al. 2024; Qwen3-Next).

    The triangular systems of a chunk are solved, not multiplied, and no counter sees them.
    """

    key_heads: int
    value_heads: int
    key_width: int
    value_width: int
    kernel: int
    chunk: int = 64

    @property
    def title(self) -> str:
        return (
            f"gated delta rule, {self.value_heads} heads of {self.key_width} by {self.value_width}"
        )

    @property
    def channels(self) -> int:
        return 2 * self.key_heads * self.key_width + self.value_heads * self.value_width

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        value = self.value_heads * self.value_width
        heads = self.value_heads
        roles = (
            ("delta_qkv", self.channels),
            ("delta_z", value),
            ("delta_b", heads),
            ("delta_a", heads),
        )
        projected = sum(outer for _, outer in roles)
        return (
            Matrix("recurrent_in", width, projected, roles=roles),
            _matrix("recurrent_out", value, width),
        )

    def vectors(self, width: int) -> int:
        del width
        return self.channels * self.kernel + 2 * self.value_heads + self.value_width

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width
        count, size = -(-tokens // self.chunk), self.chunk
        key, value = self.key_width, self.value_width
        state = size * key * value
        chunk = size * size * (2 * key + value) + 3 * state
        # Backward, a chunk's two systems multiply once each. The first state is nothing, and needs
        # no gradient; the last one is not read, and has none.
        backward = count * (2 * chunk + size * size * (key + value)) - 4 * state
        heads = self.value_heads
        return (
            _convolution(self.channels, self.kernel, tokens),
            Irregular("scan", heads * count * chunk, backward=heads * backward),
        )

    def state(self) -> int:
        return self.value_heads * self.key_width * self.value_width + self.channels * self.kernel

    def scanned(self) -> int:
        wide = 12 * (self.key_width + self.value_width)
        state = 3 * self.key_width * self.value_width // self.chunk
        return self.value_heads * (5 * self.chunk + wide + state) + 4 * self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearRecurrence(Stateless):
    """A gated linear recurrence, RG-LRU (De et al. 2024; RecurrentGemma)."""

    inner: int
    heads: int
    """Blocks of the gates' matrices."""
    kernel: int

    @property
    def title(self) -> str:
        return f"linear recurrence, {self.inner} channels"

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        block, gates = self.inner // self.heads, 2 * self.heads
        return (
            Matrix(
                "recurrent_in",
                width,
                self.inner,
                True,
                2,
                2,
                roles=(("recurrent_y", self.inner), ("recurrent_x", self.inner)),
            ),
            Matrix("recurrent_gate", block, block, True, gates, gates, called="baddbmm"),
            _matrix("recurrent_out", self.inner, width, True, turned=True),
        )

    def vectors(self, width: int) -> int:
        del width
        return self.inner * (self.kernel + 1) + self.inner

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        del width
        return (_convolution(self.inner, self.kernel, tokens),)

    def state(self) -> int:
        return self.inner * self.kernel

    def scanned(self) -> int:
        return 16 * self.inner


@dataclass(frozen=True, slots=True, kw_only=True)
class Rwkv(Stateless):
    """A weighted sum of all values that decays, RWKV 4 (Peng et al. 2023)."""

    inner: int
    """Width of keys and values."""

    @property
    def title(self) -> str:
        return f"RWKV, {self.inner} channels"

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        return (
            Matrix(
                "recurrent_in",
                width,
                self.inner,
                copies=3,
                active=3,
                roles=tuple((role, self.inner) for role in ("k", "v", "recurrent_gate")),
            ),
            _matrix("recurrent_out", self.inner, width),
        )

    def vectors(self, width: int) -> int:
        return 2 * self.inner + 3 * width

    def state(self) -> int:
        return 5 * self.inner

    def scanned(self) -> int:
        return 8 * self.inner


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution(Stateless):
    """A gated convolution over a few tokens (LFM2)."""

    kernel: int
    width: int
    bias: bool = False

    @property
    def title(self) -> str:
        return f"convolution over {self.kernel} tokens"

    def matrices(self, width: int) -> tuple[Matrix, ...]:
        return (
            _matrix("recurrent_in", width, 3 * width, self.bias),
            _matrix("recurrent_out", width, width, self.bias),
        )

    def vectors(self, width: int) -> int:
        return width * (self.kernel + self.bias)

    def irregular(self, width: int, tokens: int) -> tuple[Irregular, ...]:
        return (_convolution(width, self.kernel, tokens),)

    def state(self) -> int:
        return self.width * self.kernel

    def scanned(self) -> int:
        return 4 * self.width
