"""A tape that notes which kernels the operators of a layer launch, forward and backward.

The layer is the one of ``taped_layer``; there a tape counts bytes that wait for the backward pass,
here the same operators are written down as kernels. A gradient that comes from several operators is
summed, which is a kernel for each but the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isqrt

from rmtscale.costs.tape import MASK_BYTES, Storage, Tape, Value
from rmtscale.costs.time.kernels import (
    COPY,
    CURVE,
    DROPOUT,
    JOIN,
    LONG_ROW,
    LONG_SOFTMAX,
    NORM,
    NORM_BACK,
    PICK,
    PLAIN,
    REDUCE,
    SOFTMAX,
    SOFTMAX_BACK,
    SPREAD,
    SUM,
    UNEVEN,
    Attention,
    Kernel,
    Matmul,
    Stream,
    aligned,
)
from rmtscale.specs.precision import FP32_BYTES

_NOWHERE = Storage(0, external=True)


@dataclass(slots=True)
class KernelTape(Tape):
    """Kernels in the order in which they were launched."""

    forward: list[Kernel] = field(default_factory=list)
    backward: list[Kernel] = field(default_factory=list)
    once: list[Kernel] = field(default_factory=list)
    """Launched once for all segments of a window: casts of weights, which autocast keeps."""
    once_backward: list[Kernel] = field(default_factory=list)
    gradient_sums: list[Kernel] = field(default_factory=list)
    """Launched for every segment of a window but one: sums of the weights' gradients."""
    row: int = 0
    """Numbers in a row of attention's square."""
    experts: int = 0
    """How many a mixture has in a layer."""
    _used: dict[int, Value] = field(default_factory=dict)

    def value(self, numbers: int, width: int, grad: bool) -> Value:
        return Value(numbers, width, grad, _NOWHERE)

    def launch(self, kind: str, moved_bytes: int, numbers: int = 0) -> None:
        """Notes a kernel of the forward pass."""
        self.forward.append(Stream(kind, moved_bytes, numbers))

    def differentiate(self, kind: str, moved_bytes: int, numbers: int = 0) -> None:
        """Notes a kernel of the backward pass."""
        self.backward.append(Stream(kind, moved_bytes, numbers))

    def use(self, x: Value) -> None:
        """Notes that an operator reads it: from the second on gradients are summed."""
        if x.grad:
            if id(x) in self._used:
                self.differentiate(PLAIN, 3 * x.size_bytes)
            self._used[id(x)] = x  # kept, so that no other value has its id

    def weight(self, numbers: int, width: int) -> None:
        """Notes a trained tensor, whose gradients later segments add up."""
        self.gradient_sums.append(Stream(PLAIN, 3 * numbers * width))

    def _one_to_one(
        self,
        x: Value,
        width: int,
        kind: str = PLAIN,
        forward: int = 0,
        backward: int = 0,
        back: str = "",
    ) -> Value:
        """One kernel each way; ``forward`` and ``backward``: bytes moved besides input, output."""
        out = self.value(x.numbers, width, x.grad)
        self.launch(kind, x.size_bytes + out.size_bytes + forward, x.numbers)
        if x.grad:
            self.differentiate(back or kind, x.size_bytes + out.size_bytes + backward, x.numbers)
        self.use(x)
        return out

    def cast(self, x: Value, width: int, beside: int = 0) -> Value:
        del beside  # of memory
        if x.width == width:
            return x
        kind, back = (PLAIN, COPY) if width < x.width else (COPY, PLAIN)
        return self._one_to_one(x, width, kind, back=back)

    def view(self, x: Value, numbers: int) -> Value:
        return Value(numbers, x.width, x.grad, x.storage)

    def split(self, x: Value, sizes: Iterable[int]) -> tuple[Value, ...]:
        if x.grad:
            self.differentiate(JOIN, 2 * x.size_bytes, x.numbers)
        return tuple(self.value(numbers, x.width, x.grad) for numbers in sizes)

    def linear(
        self, x: Value, inner: int, outer: int, width: int, *, trained: bool, bias: bool = False
    ) -> Value:
        rows = x.numbers // inner
        read = self.lower(x)
        compute = read.width if self.casts.autocast else width
        tensors = (inner * outer, *((outer,) if bias else ()))
        for numbers in tensors:
            self._weight_cast(numbers, width, compute, trained)
        even = aligned(inner, outer)
        self.forward.append(self.matmul(1, rows, outer, inner, compute, even))
        out = self.value(rows * outer, compute, x.grad or trained)
        if read.grad:
            self.backward.append(self.matmul(1, rows, inner, outer, compute, even, True))
        self.use(read)
        if trained:
            self.backward.append(self.matmul(1, inner, outer, rows, compute, even, True))
            for numbers in tensors:
                self.weight(numbers, compute)
            if bias:
                self.differentiate(SUM, (rows + 1) * outer * compute)
        return out

    def _weight_cast(self, numbers: int, width: int, compute: int, trained: bool) -> None:
        if width == compute:
            return
        cast = Stream(PLAIN, numbers * (width + compute), numbers)
        (self.once if trained else self.forward).append(cast)
        if trained:
            self.once_backward.append(cast._replace(kind=COPY))

    def matmul(
        self,
        batch: int,
        rows: int,
        columns: int,
        inner: int,
        width: int,
        even: bool,
        gradient: bool = False,
    ) -> Matmul:
        """A matrix multiplication; ``even``: all matrices have rows of a multiple of 8."""
        even |= width == FP32_BYTES
        return Matmul(batch, rows, columns, inner, width, even, gradient, self._tf32)

    @property
    def _tf32(self) -> bool:
        return self.casts.arithmetic == "tf32"

    def layer_norm(self, x: Value, rows: int, *, trained: bool) -> Value:
        read = self.upper(x)
        out = self.value(read.numbers, read.width, x.grad or trained)
        self.launch(NORM, 2 * read.size_bytes)
        if out.grad:
            self.differentiate(NORM_BACK, 3 * read.size_bytes, rows * trained)
        self.use(read)
        if trained:
            for _ in range(2):
                self.weight(read.numbers // rows, read.width)
        return out

    def rms_norm(self, x: Value, rows: int, weight_width: int, *, trained: bool) -> Value:
        """RMSNorm as Transformers writes it: six kernels and two casts, and twice that back."""
        exact = self.cast(x, FP32_BYTES)
        whole, short, numbers = exact.size_bytes, rows * FP32_BYTES, x.numbers
        self.launch(PLAIN, 2 * whole)
        self.launch(REDUCE, whole + short)
        for _ in range(2):
            self.launch(PLAIN, 2 * short)
        self.launch(SPREAD, 2 * whole + short, numbers)
        if x.grad:
            for kind, moved in (
                (SPREAD, 2 * whole + short),
                (PLAIN, 3 * whole),
                (REDUCE, whole + short),
                *((PLAIN, 2 * short),) * 2,
                (PLAIN, 3 * short),
                (SPREAD, whole + short),
                *((PLAIN, 2 * whole),) * 2,
                (PLAIN, 3 * whole),
            ):
                self.differentiate(kind, moved, numbers)
        self.use(exact)
        self.use(exact)
        normed = self.cast(self.value(x.numbers, FP32_BYTES, x.grad), x.width)
        out = self.value(x.numbers, max(x.width, weight_width), x.grad or trained)
        numbers = x.numbers // rows
        moved = normed.size_bytes + out.size_bytes + numbers * weight_width
        self.launch(SPREAD, moved, x.numbers)
        if x.grad:
            self.differentiate(SPREAD, moved, x.numbers)
        if trained:
            self.differentiate(PLAIN, normed.size_bytes + 2 * out.size_bytes)
            self.differentiate(SUM, out.size_bytes + numbers * weight_width)
            self.weight(numbers, weight_width)
        return out

    def add(self, a: Value, b: Value) -> Value:
        out = self.value(max(a.numbers, b.numbers), max(a.width, b.width), a.grad or b.grad)
        self.launch(_alike(a, b), a.size_bytes + b.size_bytes + out.size_bytes, out.numbers)
        for one in (a, b):
            if one.grad and one.width < out.width:
                self.differentiate(COPY, one.size_bytes + out.size_bytes, out.numbers)
            self.use(one)
        return out

    def scaled(self, x: Value) -> Value:
        return self._one_to_one(x, x.width)

    def multiply(self, a: Value, b: Value) -> Value:
        out = self.value(max(a.numbers, b.numbers), max(a.width, b.width), a.grad or b.grad)
        kind = _alike(a, b)
        self.launch(kind, a.size_bytes + b.size_bytes + out.size_bytes, out.numbers)
        for one, other in ((a, b), (b, a)):
            if one.grad:
                self.differentiate(kind, 2 * out.size_bytes + other.size_bytes, out.numbers)
                if one.numbers < out.numbers:
                    self.differentiate(REDUCE, out.size_bytes + one.size_bytes)
                if one.width < out.width:
                    moved = one.numbers * (one.width + out.width)
                    self.differentiate(COPY, moved, one.numbers)
            self.use(one)
        return out

    def rotate(self, x: Value, table: Value) -> Value:
        """``x cos + rotated(x) sin``: the half that is turned is negated, and both joined."""
        out = self.rotated(x, x.numbers, table)
        if x.grad:
            self.differentiate(COPY, 2 * x.size_bytes, x.numbers)
        return out

    def rotated(self, x: Value, numbers: int, table: Value) -> Value:
        """Rotates so many of its numbers."""
        out = self.value(numbers, max(x.width, table.width), x.grad)
        part, made, half = numbers * x.width, out.size_bytes, numbers // 2
        for _ in range(2):
            self.launch(UNEVEN, part + table.size_bytes + made, numbers)
        self.launch(UNEVEN, part, half)
        self.launch(JOIN, 2 * part, numbers)
        self.launch(UNEVEN, 3 * made, numbers)
        if x.grad:
            for _ in range(2):
                self.differentiate(UNEVEN, 2 * made + table.size_bytes, numbers)
                if x.width < out.width:
                    self.differentiate(COPY, part + made, numbers)
                self.differentiate(COPY, 3 * part // 2, numbers)
                self.differentiate(PLAIN, 3 * part)
            self.differentiate(UNEVEN, part, half)
        self.use(x)
        return out

    def dropout(self, x: Value, active: bool) -> Value:
        if not active:
            return x
        mask = x.numbers * MASK_BYTES
        return self._one_to_one(x, x.width, DROPOUT, mask, mask)

    def activation(self, x: Value, name: str) -> Value:
        if name == "gelu_new":
            return self._gelu_new(x)
        return self._one_to_one(x, x.width, CURVE, backward=x.size_bytes)

    def _power(self, x: Value) -> Value:
        """``x^3``: its gradient is a power, a product with a number, and one with the gradient."""
        out = self.value(x.numbers, x.width, x.grad)
        self.launch(PLAIN, 2 * x.size_bytes)
        if x.grad:
            for times in (2, 2, 3):
                self.differentiate(PLAIN, times * x.size_bytes)
        self.use(x)
        return out

    def _tanh(self, x: Value) -> Value:
        return self._one_to_one(x, x.width, backward=x.size_bytes)

    def _one_plus(self, x: Value) -> Value:
        out = self.value(x.numbers, x.width, x.grad)
        self.launch(PLAIN, 2 * x.size_bytes)
        return out

    def hold(self, *values: Value) -> None:
        """Does nothing: a name launches no kernel."""

    def keep(self, x: Value) -> None:
        """Does nothing: what is kept launches no kernel."""

    def attend(self, q: Value, k: Value, v: Value, kernel: Attention) -> Value:
        """Fused attention."""
        read = [self.lower(one) for one in (q, k, v)]
        out = self.value(q.numbers, kernel.width, any(one.grad for one in read))
        self.forward.append(kernel)
        if out.grad:
            self.backward.append(kernel._replace(backward=True))
        for one in read:
            self.use(one)
        return out

    def batched(self, a: Value, b: Value, batch: int, rows: int, columns: int, inner: int) -> Value:
        """A matmul of two activations, head by head."""
        a, b = self.lower(a), self.lower(b)
        out = self.value(batch * rows * columns, a.width, a.grad or b.grad)
        even = aligned(rows, columns, inner)
        self.forward.append(self.matmul(batch, rows, columns, inner, a.width, even))
        if a.grad:
            self.backward.append(self.matmul(batch, rows, inner, columns, a.width, even, True))
        if b.grad:
            self.backward.append(self.matmul(batch, inner, columns, rows, a.width, even, True))
        self.use(a)
        self.use(b)
        return out

    def masked(self, x: Value, mask_bytes: int, width: int) -> Value:
        """Adds a mask of numbers of ``width`` bytes."""
        out = self.value(x.numbers, max(x.width, width), x.grad)
        self.launch(UNEVEN, x.size_bytes + out.size_bytes + mask_bytes, x.numbers)
        if x.grad and out.width > x.width:
            self.differentiate(COPY, x.size_bytes + out.size_bytes, x.numbers)
        return out

    def expanded(self, x: Value, numbers: int) -> Value:
        out = self.value(numbers, x.width, x.grad)
        self.launch(COPY, x.size_bytes + out.size_bytes, numbers)
        if x.grad:
            self.differentiate(REDUCE, x.size_bytes + out.size_bytes)
        return out

    def softmax(self, x: Value, width: int, squares: int, beside: int = 0) -> Value:
        del squares, beside  # of memory
        x = self.cast(x, width)
        kind = LONG_SOFTMAX if self.row > LONG_ROW else SOFTMAX
        return self._one_to_one(x, width, kind, backward=x.size_bytes, back=SOFTMAX_BACK)

    def picked(self, x: Value, numbers: int, index: Storage) -> Value:
        del index
        out = self.value(numbers, x.width, x.grad)
        self.launch(PICK, 2 * out.size_bytes)
        if x.grad:
            self.differentiate(COPY, x.size_bytes + out.size_bytes, out.numbers)
        self.use(x)
        return out

    def normed(self, x: Value, rows: int) -> Value:
        del rows
        out = self.value(x.numbers, x.width, x.grad)
        for _ in range(2):
            self.launch(PLAIN, 2 * x.size_bytes)
            if x.grad:
                self.differentiate(PLAIN, 3 * x.size_bytes)
        return out

    def half(self, x: Value) -> Value:
        if x.grad:
            self.differentiate(COPY, 3 * x.size_bytes // 2, x.numbers)
        return Value(x.numbers // 2, x.width, x.grad, x.storage)

    def grouped(self, x: Value, numbers: int, weights: int, trained: bool) -> Value:
        """The matrices of those experts that are used, each over its share of the rows."""
        rows = isqrt(x.numbers * numbers * self.experts // weights)
        inner, outer = x.numbers // rows, numbers // rows
        used = min(self.experts, rows)
        each = -(-rows // used)
        out = self.value(numbers, x.width, x.grad or trained)
        even = aligned(inner, outer)
        self.forward.append(self.matmul(used, each, outer, inner, x.width, even))
        if x.grad:
            self.backward.append(self.matmul(used, each, inner, outer, x.width, even, True))
        self.use(x)
        if trained:
            self.backward.append(self.matmul(used, inner, outer, each, x.width, even, True))
            self.weight(weights, x.width)
        return out

    def summed(self, x: Value, numbers: int) -> Value:
        out = self.value(numbers, x.width, x.grad)
        self.launch(REDUCE, x.size_bytes + out.size_bytes)
        self.use(x)
        return out


def _alike(a: Value, b: Value) -> str:
    """Whether two operands are read in step: of one size and one dtype."""
    return PLAIN if (a.numbers, a.width) == (b.numbers, b.width) else UNEVEN
