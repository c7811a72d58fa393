"""A tape of a layer's operators: what autograd keeps of each, and what its backward pass holds.

The closed forms of ``activations`` are for one dtype throughout and weights that are all trained.
Under autocast an operator chooses the dtype of its inputs, and a frozen matrix keeps no input: then
what is kept follows from operator after operator. Here they are written down in the order in which
the module runs them, on tensors that are a size, a dtype and whether a gradient reaches them; no
numbers are computed. The rules are torch's: ``derivatives.yaml`` says what an operator saves, and
the autocast op reference which run in 16 bits (matmuls, attention) and which in fp32 (norms,
softmax, powers, the loss). A tensor counts once however many operators save it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rmtscale.specs.precision import FP32_BYTES, Precision

MASK_BYTES = 1
"""A dropout mask is one byte an element."""


@dataclass(slots=True, eq=False)
class Storage:
    """Memory that tensors and their views share."""

    size_bytes: int
    external: bool = False
    """Whether it belongs to somebody else: a weight, a table."""


@dataclass(slots=True, eq=False)
class Value:
    """A tensor: ``numbers`` of ``width`` bytes each."""

    numbers: int
    width: int
    grad: bool
    storage: Storage

    @property
    def size_bytes(self) -> int:
        return self.numbers * self.width


@dataclass(slots=True, eq=False)
class Node:
    """One operator."""

    inputs: tuple[Value, ...]
    output: Value
    saved: tuple[Storage, ...] = ()
    passes_on: bool = False
    """Its backward pass hands on the gradient it was given: a sum, a view."""
    weight_bytes: int = 0
    """The gradient of its weights, which stays."""
    weight_cast_bytes: int = 0
    """That gradient in 16 bits, before it is cast."""
    work_bytes: int = 0
    """Held while it is differentiated, besides gradients."""
    forward_bytes: int = 0
    """Held while it runs, besides what it reads and makes; in inference its weights in 16 bits."""


@dataclass(slots=True)
class Tape:
    """Operators in the order in which they ran."""

    casts: Precision
    nodes: list[Node] = field(default_factory=list)
    cached_bytes: int = 0
    """16-bit copies of trained weights: autocast keeps them for all that use a weight, and where
    a gradient goes through them they wait for the backward pass."""
    attention: set[Storage] = field(default_factory=set)
    """Saved by attention: queries, keys, values, squares, its output."""

    def value(self, numbers: int, width: int, grad: bool) -> Value:
        """Makes a tensor that nothing computed."""
        return Value(numbers, width, grad, Storage(numbers * width))

    def _record(
        self, inputs: Iterable[Value], output: Value, saved: Iterable[Storage] = (), **more: int
    ) -> Value:
        inputs = tuple(inputs)
        kept = tuple(saved) if output.grad else ()
        self.nodes.append(Node(inputs, output, kept, **more))  # type: ignore[arg-type]
        return output

    def cast(self, x: Value, width: int, beside: int = 0) -> Value:
        """Casts a tensor; ``beside``: bytes there meanwhile in a forward pass."""
        if x.width == width:
            return x
        out = self.value(x.numbers, width, x.grad)
        return self._record((x,), out, forward_bytes=beside)

    def lower(self, x: Value) -> Value:
        """Casts what an operator of autocast's 16-bit list reads."""
        return self.cast(x, self.casts.compute_bytes) if self.casts.autocast else x

    def upper(self, x: Value) -> Value:
        """Casts what an operator of autocast's fp32 list reads."""
        return self.cast(x, FP32_BYTES) if self.casts.autocast else x

    def view(self, x: Value, numbers: int) -> Value:
        """A part of a tensor: it keeps all of it alive."""
        return self._record(
            (x,), Value(numbers, x.width, x.grad, x.storage), passes_on=numbers == x.numbers
        )

    def split(self, x: Value, sizes: Iterable[int]) -> tuple[Value, ...]:
        """Parts of a tensor, of so many numbers each."""
        return tuple(Value(numbers, x.width, x.grad, x.storage) for numbers in sizes)

    def linear(
        self, x: Value, inner: int, outer: int, width: int, *, trained: bool, bias: bool = False
    ) -> Value:
        """A matrix whose weights have ``width`` bytes each; a bias is too small to be counted."""
        del bias
        rows = x.numbers // inner
        read = self.lower(x)
        matrix = inner * outer
        saved = [read.storage] if trained else []
        weight_cast = copied = 0
        if self.casts.autocast and width != self.casts.compute_bytes:
            copied = matrix * self.casts.compute_bytes
            if trained:  # cached: another use of the weight finds it
                self.cached_bytes += copied * x.grad
                weight_cast = copied
            elif x.grad:
                saved.append(Storage(copied))
        out_width = read.width if self.casts.autocast else width
        out = self.value(rows * outer, out_width, x.grad or trained)
        return self._record(
            (read,),
            out,
            saved,
            weight_bytes=matrix * width * trained,
            weight_cast_bytes=weight_cast,
            forward_bytes=copied,
        )

    def layer_norm(self, x: Value, rows: int, *, trained: bool) -> Value:
        read = self.upper(x)
        out = self.value(read.numbers, read.width, x.grad or trained)
        statistics = Storage(2 * rows * FP32_BYTES)
        return self._record((read,), out, (read.storage, statistics))

    def rms_norm(self, x: Value, rows: int, weight_width: int, *, trained: bool) -> Value:
        """RMSNorm, which Transformers writes in fp32, then back, then times the weight."""
        exact = self.cast(x, FP32_BYTES)
        root = Storage(rows * FP32_BYTES)
        normed = self._record(
            (exact,), self.value(x.numbers, FP32_BYTES, x.grad), (exact.storage, root)
        )
        normed = self.cast(normed, x.width)
        out = self.value(x.numbers, max(x.width, weight_width), x.grad or trained)
        return self._record((normed,), out, (normed.storage,) if trained else ())

    def add(self, a: Value, b: Value) -> Value:
        """A sum: the wider dtype, nothing kept."""
        width = max(a.width, b.width)
        out = self.value(max(a.numbers, b.numbers), width, a.grad or b.grad)
        return self._record((a, b), out, passes_on=a.width == b.width)

    def scaled(self, x: Value) -> Value:
        """A product with a plain number."""
        return self._record((x,), self.value(x.numbers, x.width, x.grad))

    def multiply(self, a: Value, b: Value) -> Value:
        """A product keeps either factor for the other's gradient."""
        saved = [a.storage] * b.grad + [b.storage] * a.grad
        out = self.value(max(a.numbers, b.numbers), max(a.width, b.width), a.grad or b.grad)
        return self._record((a, b), out, saved)

    def rotate(self, x: Value, table: Value) -> Value:
        """Rotary positions: the table is kept, which is shared; x is not."""
        out = self.value(x.numbers, max(x.width, table.width), x.grad)
        size = out.size_bytes
        return self._record((x,), out, (table.storage,), work_bytes=size, forward_bytes=size)

    def dropout(self, x: Value, active: bool) -> Value:
        if not active:
            return x
        mask = Storage(x.numbers * MASK_BYTES)
        return self._record((x,), self.value(x.numbers, x.width, x.grad), (mask,))

    def activation(self, x: Value, name: str) -> Value:
        """An activation function; the tanh form of GPT-2 is written in Python."""
        if name == "gelu_new":
            return self._gelu_new(x)
        out = self.value(x.numbers, x.width, x.grad)
        return self._record((x,), out, (out.storage if name == "relu" else x.storage,))

    def _gelu_new(self, x: Value) -> Value:
        """``0.5 x (1 + tanh(a (x + b x^3)))``: the power runs in fp32 under autocast."""
        read = self.upper(x)
        half = self.scaled(x)
        inner = self.scaled(self.add(x, self.scaled(self._power(read))))
        return self.multiply(half, self._one_plus(self._tanh(inner)))

    def _power(self, x: Value) -> Value:
        return self._record((x,), self.value(x.numbers, x.width, x.grad), (x.storage,))

    def _tanh(self, x: Value) -> Value:
        out = self.value(x.numbers, x.width, x.grad)
        return self._record((x,), out, (out.storage,))

    def _one_plus(self, x: Value) -> Value:
        return self.scaled(x)

    def hold(self, *values: Value) -> None:
        """Notes tensors that have a name until here, though the last operator on them has run."""
        self._record(values, self.value(0, 1, grad=False))

    def keep(self, x: Value) -> None:
        """Notes a tensor that is kept by an operator whose gradient goes elsewhere."""
        self._record((), self.value(0, 1, grad=True), (x.storage,))

    def fused_attention(
        self,
        q: Value,
        k: Value,
        v: Value,
        fixed_bytes: int,
        sums: int,
        sources: tuple[Value, ...] = (),
    ) -> Value:
        """Flash or memory-efficient attention: its inputs, its output, the sums of its rows.

        Args:
            sources: what query, key and value are parts of, where they are.
        """
        q, k, v = self.lower(q), self.lower(k), self.lower(v)
        out = self.value(q.numbers, q.width, q.grad or k.grad or v.grad)
        kept = [q.storage, k.storage, v.storage, out.storage]
        kept += [Storage(sums * FP32_BYTES), Storage(fixed_bytes)]
        if out.grad:
            self.attention |= set(kept)
        work = sum(one.size_bytes for one in (q, k, v)) if sources else 0
        out = self._record(sources or (q, k, v), out, kept, work_bytes=work)
        self.hold(q, k, v)
        return out

    def product(self, a: Value, b: Value, numbers: int, sources: tuple[Value, ...]) -> Value:
        """A matmul of two activations, heads by heads."""
        a, b = self.lower(a), self.lower(b)
        saved = [a.storage] * b.grad + [b.storage] * a.grad
        out = self.value(numbers, a.width, a.grad or b.grad)
        if out.grad:
            self.attention |= set(saved)
        inputs: tuple[Value, ...] = (a, b)
        if sources:
            inputs = (*sources, *(one for one in (a, b) if one.storage is not sources[0].storage))
        return self._record(inputs, out, saved)

    def expanded(self, x: Value, numbers: int) -> Value:
        """Grouped heads written out, once per query head."""
        return self._record((x,), self.value(numbers, x.width, x.grad))

    def softmax(self, x: Value, width: int, squares: int, beside: int = 0) -> Value:
        """Keeps its output.

        Args:
            squares: what its backward pass holds of that size.
            beside: bytes there meanwhile in a forward pass.
        """
        out = self.value(x.numbers, width, x.grad)
        if out.grad:
            self.attention.add(out.storage)
        work = max(squares - 2, 0) * out.size_bytes
        return self._record((x,), out, (out.storage,), work_bytes=work, forward_bytes=beside)

    def picked(self, x: Value, numbers: int, index: Storage) -> Value:
        """Rows of a tensor by an index, which is kept."""
        return self._record((x,), self.value(numbers, x.width, x.grad), (index,))

    def normed(self, x: Value, rows: int) -> Value:
        """A quotient by the sum of each row: both are kept."""
        out = self.value(x.numbers, x.width, x.grad)
        return self._record((x,), out, (x.storage, Storage(rows * x.width)))

    def half(self, x: Value) -> Value:
        """One of two views of a tensor."""
        return self._record((x,), Value(x.numbers // 2, x.width, x.grad, x.storage))

    def grouped(self, x: Value, numbers: int, weights: int, trained: bool) -> Value:
        """The matrices of all experts, of which autocast knows nothing."""
        out = self.value(numbers, x.width, x.grad or trained)
        saved = (x.storage,) if trained else ()
        return self._record((x,), out, saved, weight_bytes=weights * x.width * trained)

    def summed(self, x: Value, numbers: int) -> Value:
        """A sum over a dimension keeps nothing."""
        return self._record((x,), self.value(numbers, x.width, x.grad))

    def saved(self) -> dict[Storage, int]:
        """Every storage that waits for the backward pass, and its bytes."""
        kept: dict[Storage, int] = {}
        for node in self.nodes:
            for storage in node.saved:
                if not storage.external:
                    kept[storage] = storage.size_bytes
        return kept

    def forward_bytes(self) -> int:
        """Counts what is alive at most while it runs with nothing kept, its input and output too.

        A tensor goes when its last operator has run, but for what the first one reads: whoever
        called the module holds it.
        """
        last_use: dict[Storage, int] = {}
        for index, node in enumerate(self.nodes):
            for one in (*node.inputs, node.output):
                last_use[one.storage] = index
        if not self.nodes:
            return 0
        held = self.nodes[0].inputs[0].storage if self.nodes[0].inputs else None
        seen: set[Storage] = set()
        alive = peak = 0
        for index, node in enumerate(self.nodes):
            touched = {one.storage for one in (*node.inputs, node.output)}
            alive += sum(storage.size_bytes for storage in touched - seen)
            seen |= touched
            peak = max(peak, alive + node.forward_bytes)
            for storage in touched:
                if last_use[storage] == index and storage is not held:
                    alive -= storage.size_bytes
        return peak

    def backward_bytes(self, out: Value, *, stay: bool = True, shared: bool = False) -> int:
        """Counts what is alive at most while the tape is differentiated, beyond all it has saved.

        The gradient of what came out is in it.

        Args:
            stay: the gradients of its weights do, and are in it; else each is added to another.
            shared: other segments share the weights' 16-bit copies, and gradients are summed in
                the dtype of these.
        """
        last_use: dict[Storage, int] = {}
        for index, node in enumerate(self.nodes):
            for storage in node.saved:
                last_use.setdefault(storage, index)  # the first operator is differentiated last
        gradients = {id(out): _Buffer(out.size_bytes)}
        alive = peak = out.size_bytes
        for index in reversed(range(len(self.nodes))):
            node = self.nodes[index]
            given = gradients.pop(id(node.output), None)
            if given is None:
                continue
            handed = [(one, _handed(node, one, given)) for one in node.inputs if one.grad]
            alive += sum(one.size_bytes for _, one in handed if one is not given)
            weights, cast = node.weight_bytes, node.weight_cast_bytes
            if shared and cast:
                weights, cast = cast, 0
            alive += weights
            peak = max(peak, alive + cast + node.work_bytes)
            alive -= 0 if stay else weights
            alive -= given.released()
            for storage in set(node.saved):
                if last_use[storage] == index and not storage.external:
                    alive -= storage.size_bytes
            for one, buffer in handed:
                there = gradients.get(id(one))
                if there is None:
                    gradients[id(one)] = buffer
                elif there.owners == 1:  # summed in place
                    alive -= buffer.released()
                else:
                    gradients[id(one)] = _Buffer(buffer.size_bytes)
                    alive += buffer.size_bytes
                    peak = max(peak, alive)
                    alive -= buffer.released() + there.released()
        return peak


def _handed(node: Node, one: Value, given: _Buffer) -> _Buffer:
    """The gradient of one input: the one that was given, or a new one."""
    if node.passes_on and one.size_bytes == given.size_bytes:
        given.owners += 1
        return given
    return _Buffer(one.size_bytes)


@dataclass(slots=True)
class _Buffer:
    """A gradient, and how many tensors it is the gradient of."""

    size_bytes: int
    owners: int = 1

    def released(self) -> int:
        """Gives up one owner; returns the bytes that are free then."""
        self.owners -= 1
        return 0 if self.owners else self.size_bytes
