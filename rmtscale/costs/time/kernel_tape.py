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
    PLAIN,
    ROWS,
    SUM,
    Attention,
    Kernel,
    Launches,
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
    experts: int = 0
    """Of a mixture."""
    _used: dict[int, Value] = field(default_factory=dict)

    def launches(self) -> Launches:
        return Launches(tuple(self.forward), tuple(self.backward))

    def value(self, numbers: int, width: int, grad: bool) -> Value:
        return Value(numbers, width, grad, _NOWHERE)

    def launch(self, kind: str, moved_bytes: int) -> None:
        self.forward.append(Stream(kind, moved_bytes))

    def differentiate(self, kind: str, moved_bytes: int) -> None:
        self.backward.append(Stream(kind, moved_bytes))

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
        self, x: Value, width: int, kind: str = PLAIN, forward: int = 0, backward: int = 0
    ) -> Value:
        """One kernel each way; ``forward`` and ``backward``: bytes moved besides input, output."""
        out = self.value(x.numbers, width, x.grad)
        self.launch(kind, x.size_bytes + out.size_bytes + forward)
        if x.grad:
            self.differentiate(kind, x.size_bytes + out.size_bytes + backward)
        self.use(x)
        return out

    def cast(self, x: Value, width: int, beside: int = 0) -> Value:
        return x if x.width == width else self._one_to_one(x, width, ROWS)

    def view(self, x: Value, numbers: int) -> Value:
        return Value(numbers, x.width, x.grad, x.storage)

    def split(self, x: Value, sizes: Iterable[int]) -> tuple[Value, ...]:
        if x.grad:
            self.differentiate(ROWS, 2 * x.size_bytes)
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
        self.forward.append(self.product(1, rows, outer, inner, compute, even))
        out = self.value(rows * outer, compute, x.grad or trained)
        if read.grad:
            self.backward.append(self.product(1, rows, inner, outer, compute, even))
        self.use(read)
        if trained:
            self.backward.append(self.product(1, inner, outer, rows, compute, even))
            for numbers in tensors:
                self.weight(numbers, compute)
            if bias:
                self.differentiate(SUM, (rows + 1) * outer * compute)
        return out

    def _weight_cast(self, numbers: int, width: int, compute: int, trained: bool) -> None:
        if width == compute:
            return
        cast = Stream(ROWS, numbers * (width + compute))
        (self.once if trained else self.forward).append(cast)
        if trained:
            self.once_backward.append(cast)

    def product(
        self, batch: int, rows: int, columns: int, inner: int, width: int, even: bool
    ) -> Matmul:
        """A matrix multiplication; ``even``: all matrices have rows of a multiple of 8."""
        tf32 = self.casts.arithmetic == "tf32"
        return Matmul(batch, rows, columns, inner, width, even or width == FP32_BYTES, tf32)

    def layer_norm(self, x: Value, rows: int, *, trained: bool) -> Value:
        read = self.upper(x)
        out = self.value(read.numbers, read.width, x.grad or trained)
        self.launch(ROWS, 2 * read.size_bytes)
        if out.grad:
            self.differentiate(ROWS, 3 * read.size_bytes)
        self.use(read)
        if trained:
            for _ in range(2):
                self.weight(read.numbers // rows, read.width)
        return out

    def rms_norm(self, x: Value, rows: int, weight_width: int, *, trained: bool) -> Value:
        """RMSNorm as Transformers writes it: six kernels and two casts, and twice that back."""
        exact = self.cast(x, FP32_BYTES)
        whole, short = exact.size_bytes, rows * FP32_BYTES
        for kind, moved in (
            (PLAIN, 2 * whole),
            (ROWS, whole + short),
            *((PLAIN, 2 * short),) * 2,
            (PLAIN, 2 * whole + short),
        ):
            self.launch(kind, moved)
        if x.grad:
            for kind, moved in (
                (PLAIN, 2 * whole + short),
                (PLAIN, 3 * whole),
                (SUM, whole + short),
                *((PLAIN, 2 * short),) * 2,
                (PLAIN, 3 * short),
                (PLAIN, whole + short),
                *((PLAIN, 2 * whole),) * 2,
                (PLAIN, 3 * whole),
            ):
                self.differentiate(kind, moved)
        self.use(exact)
        self.use(exact)
        normed = self.cast(self.value(x.numbers, FP32_BYTES, x.grad), x.width)
        out = self.value(x.numbers, max(x.width, weight_width), x.grad or trained)
        numbers = x.numbers // rows
        self.launch(PLAIN, normed.size_bytes + out.size_bytes + numbers * weight_width)
        if x.grad:
            self.differentiate(PLAIN, normed.size_bytes + out.size_bytes + numbers * weight_width)
        if trained:
            self.differentiate(PLAIN, normed.size_bytes + 2 * out.size_bytes)
            self.differentiate(SUM, out.size_bytes + numbers * weight_width)
            self.weight(numbers, weight_width)
        return out

    def add(self, a: Value, b: Value) -> Value:
        out = self.value(max(a.numbers, b.numbers), max(a.width, b.width), a.grad or b.grad)
        self.launch(PLAIN, a.size_bytes + b.size_bytes + out.size_bytes)
        for one in (a, b):
            if one.grad and one.width < out.width:
                self.differentiate(ROWS, one.size_bytes + out.size_bytes)
            self.use(one)
        return out

    def scaled(self, x: Value) -> Value:
        return self._one_to_one(x, x.width)

    def multiply(self, a: Value, b: Value) -> Value:
        out = self.value(max(a.numbers, b.numbers), max(a.width, b.width), a.grad or b.grad)
        self.launch(PLAIN, a.size_bytes + b.size_bytes + out.size_bytes)
        for one, other in ((a, b), (b, a)):
            if one.grad:
                self.differentiate(PLAIN, 2 * out.size_bytes + other.size_bytes)
                if one.numbers < out.numbers:
                    self.differentiate(SUM, out.size_bytes + one.size_bytes)
                if one.width < out.width:
                    self.differentiate(ROWS, one.numbers * (one.width + out.width))
            self.use(one)
        return out

    def rotate(self, x: Value, table: Value) -> Value:
        """``x cos + rotated(x) sin``: the half that is turned is negated, and both joined."""
        out = self.rotated(x, x.numbers, table)
        if x.grad:
            self.differentiate(ROWS, 2 * x.size_bytes)
        return out

    def rotated(self, x: Value, numbers: int, table: Value) -> Value:
        """Rotates so many of its numbers."""
        out = self.value(numbers, max(x.width, table.width), x.grad)
        part, made = numbers * x.width, out.size_bytes
        self.launch(PLAIN, part + table.size_bytes + made)
        self.launch(ROWS, part)
        self.launch(ROWS, 2 * part)
        self.launch(PLAIN, part + table.size_bytes + made)
        self.launch(PLAIN, 3 * made)
        if x.grad:
            for _ in range(2):
                self.differentiate(PLAIN, 2 * made + table.size_bytes)
                if x.width < out.width:
                    self.differentiate(ROWS, part + made)
                self.differentiate(ROWS, 3 * part // 2)
                self.differentiate(PLAIN, 3 * part)
            self.differentiate(ROWS, part)
        self.use(x)
        return out

    def dropout(self, x: Value, active: bool) -> Value:
        if not active:
            return x
        mask = x.numbers * MASK_BYTES
        return self._one_to_one(x, x.width, ROWS, mask, mask)

    def activation(self, x: Value, name: str) -> Value:
        if name == "gelu_new":
            return self._gelu_new(x)
        return self._one_to_one(x, x.width, backward=x.size_bytes)

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
        self.forward.append(self.product(batch, rows, columns, inner, a.width, even))
        if a.grad:
            self.backward.append(self.product(batch, rows, inner, columns, a.width, even))
        if b.grad:
            self.backward.append(self.product(batch, inner, columns, rows, a.width, even))
        self.use(a)
        self.use(b)
        return out

    def masked(self, x: Value, mask_bytes: int, width: int) -> Value:
        """Adds a mask of numbers of ``width`` bytes."""
        out = self.value(x.numbers, max(x.width, width), x.grad)
        self.launch(PLAIN, x.size_bytes + out.size_bytes + mask_bytes)
        if x.grad and out.width > x.width:
            self.differentiate(ROWS, x.size_bytes + out.size_bytes)
        return out

    def expanded(self, x: Value, numbers: int) -> Value:
        out = self.value(numbers, x.width, x.grad)
        self.launch(ROWS, x.size_bytes + out.size_bytes)
        if x.grad:
            self.differentiate(SUM, x.size_bytes + out.size_bytes)
        return out

    def softmax(self, x: Value, width: int, squares: int, beside: int = 0) -> Value:
        x = self.cast(x, width)
        return self._one_to_one(x, width, ROWS, backward=x.size_bytes)

    def picked(self, x: Value, numbers: int, index: Storage) -> Value:
        out = self.value(numbers, x.width, x.grad)
        self.launch(ROWS, 2 * out.size_bytes)
        if x.grad:
            self.differentiate(ROWS, x.size_bytes + out.size_bytes)
        self.use(x)
        return out

    def normed(self, x: Value, rows: int) -> Value:
        out = self.value(x.numbers, x.width, x.grad)
        for _ in range(2):
            self.launch(PLAIN, 2 * x.size_bytes)
            if x.grad:
                self.differentiate(PLAIN, 3 * x.size_bytes)
        return out

    def half(self, x: Value) -> Value:
        if x.grad:
            self.differentiate(ROWS, 3 * x.size_bytes // 2)
        return Value(x.numbers // 2, x.width, x.grad, x.storage)

    def grouped(self, x: Value, numbers: int, weights: int, trained: bool) -> Value:
        """The matrices of those experts that are used, each over its share of the rows."""
        rows = isqrt(x.numbers * numbers * self.experts // weights)
        inner, outer = x.numbers // rows, numbers // rows
        used = min(self.experts, rows)
        each = -(-rows // used)
        out = self.value(numbers, x.width, x.grad or trained)
        even = aligned(inner, outer)
        self.forward.append(self.product(used, each, outer, inner, x.width, even))
        if x.grad:
            self.backward.append(self.product(used, each, inner, outer, x.width, even))
        self.use(x)
        if trained:
            self.backward.append(self.product(used, inner, outer, each, x.width, even))
            self.weight(weights, x.width)
        return out

    def summed(self, x: Value, numbers: int) -> Value:
        out = self.value(numbers, x.width, x.grad)
        self.launch(SUM, x.size_bytes + out.size_bytes)
        self.use(x)
        return out
