"""The kernels that a step consists of, by what their time depends on.

Three kinds are told apart, because a GPU runs them differently: a matrix multiplication, fused
attention, and everything that streams tensors through memory. What streams is of one of a few
kinds (``STREAMS``), which differ in the least time of a kernel and in the share of the bandwidth
that they reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ALIGNED_NUMBERS = 8
"""In 16 bits a matrix whose rows are no multiple of so many numbers falls to slow kernels."""
LONG_ROW = 2048
"""A softmax over longer rows is another kernel."""


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
    gradient: bool = False
    """Whether it makes a gradient: there libraries cut the inner dimension where tiles are few."""
    tf32: bool = False
    onto: bool = False
    """Whether it is added to what stands where it is written, which is read then, too."""

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
    numbers: int = 0
    """How many, of those kinds that take as long for a narrow number as for a wide one."""


PLAIN = "plain"
"""Element by element, all operands alike."""
CURVE = "curve"
"""Element by element through an activation function."""
UNEVEN = "uneven"
"""Operands of different shapes, orders or dtypes: one number at a time."""
SPREAD = "spread"
"""One operand is the same for whole rows, or for all of them."""
COPY = "copy"
"""A cast to a wider dtype, or a copy in another order: one number at a time."""
JOIN = "join"
"""Several tensors into one."""
PICK = "pick"
"""Rows by an index."""
DROPOUT = "dropout"
NORM, NORM_BACK = "norm", "norm backward"
"""The backward pass also sums the gradients of its weights over all rows."""
SOFTMAX, LONG_SOFTMAX, SOFTMAX_BACK = "softmax", "long softmax", "softmax backward"
"""Long rows, of more than ``LONG_ROW`` numbers, do not fit into a block's registers."""
LOSS, LOSS_BACK = "loss", "loss backward"
"""The log-softmax of logits."""
REDUCE = "reduce"
"""A sum or a maximum of each row."""
SUM = "sum"
"""A sum over all rows, as gradients of biases are."""
SCATTER = "scatter"
"""The gradient of an embedding; its ``numbers`` are tokens, of which each adds a row."""
STREAMS = (
    *(PLAIN, CURVE, UNEVEN, SPREAD, COPY, JOIN, PICK, DROPOUT, NORM, NORM_BACK),
    *(SOFTMAX, LONG_SOFTMAX, SOFTMAX_BACK),
    *(LOSS, LOSS_BACK, REDUCE, SUM, SCATTER),
)

Kernel = Matmul | Attention | Stream


@dataclass(frozen=True, slots=True, eq=False)
class KernelList:
    """Kernels one after another; two lists are equal only if they are the same object."""

    kernels: tuple[Kernel, ...]

    @property
    def launched(self) -> int:
        """How many kernels there are."""
        return len(self.kernels)


def aligned(*numbers: int) -> bool:
    """Whether all are multiples of ``ALIGNED_NUMBERS``."""
    return not any(one % ALIGNED_NUMBERS for one in numbers)


def moved_bytes(kernels: Iterable[Kernel]) -> int:
    """Bytes that the streams among them move."""
    return sum(one.moved_bytes for one in kernels if isinstance(one, Stream))
