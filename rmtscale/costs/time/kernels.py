"""The kernels that a step consists of, by what their time depends on.

Three kinds are told apart, because a GPU runs them differently: a matrix multiplication, fused
attention, and everything that streams tensors through memory. What streams is one of a few classes
(``STREAMS``), which differ in the least time of a kernel and in the share of the bandwidth that they
reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ALIGNED_NUMBERS = 8
"""In 16 bits a matrix whose rows are no multiple of so many numbers falls to slow kernels."""


class Matmul(NamedTuple):
    """``batch`` products of a (rows, inner) and an (inner, columns) matrix."""

    batch: int
    rows: int
    columns: int
    inner: int
    width: int
    """Bytes of a number."""
    aligned: bool
    """Whether all rows begin at a multiple of ``ALIGNED_NUMBERS``."""
    tf32: bool = False

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.rows * self.columns * self.inner

    @property
    def read_bytes(self) -> int:
        return self.width * self.batch * self.inner * (self.rows + self.columns)

    @property
    def written_bytes(self) -> int:
        return self.width * self.batch * self.rows * self.columns


class Attention(NamedTuple):
    """Fused attention over ``heads`` squares, a batch of them."""

    heads: int
    size: int
    head_width: int
    width: int
    backward: bool
    causal: bool
    window: int = 0


class Stream(NamedTuple):
    """A kernel that reads and writes so many bytes; ``kind`` is one of ``STREAMS``."""

    kind: str
    moved_bytes: int


PLAIN, ROWS, SUM, SCATTER = "plain", "rows", "sum", "scatter"
STREAMS = (PLAIN, ROWS, SUM, SCATTER)
"""``plain``: element by element. ``rows``: norms, softmax, casts, copies, whatever looks at rows or
changes the order. ``sum``: over a whole dimension, as gradients of biases are. ``scatter``: the
gradient of an embedding, which is sorted first."""

Kernel = Matmul | Attention | Stream


class Launches(NamedTuple):
    """Kernels in the order in which they are launched, forward and backward."""

    forward: tuple[Kernel, ...]
    backward: tuple[Kernel, ...] = ()

    def plus(self, more: Launches) -> Launches:
        return Launches(self.forward + more.forward, self.backward + more.backward)


def aligned(*numbers: int) -> bool:
    """Whether all are multiples of ``ALIGNED_NUMBERS``."""
    return not any(one % ALIGNED_NUMBERS for one in numbers)


def moved_bytes(kernels: Iterable[Kernel]) -> int:
    """Bytes that the streams among them move."""
    return sum(one.moved_bytes for one in kernels if isinstance(one, Stream))
