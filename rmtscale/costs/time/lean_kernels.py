"""Kernels of a lean segment step of GPT-2 (``rmtscale.rmt.lean_gpt2``), in their order.

Products add to the residual stream in place, and the biases that it lacks are added before each
norm. In 16 bits GELU is a part of the product. Of the last block only the read positions run, whose
attention is written out. Compiled, what stands between products is one kernel each
(``costs.time.fused``); the products are the library's either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from rmtscale.costs.lean_segment import gelu_inside, read_positions
from rmtscale.costs.tape import MASK_BYTES, Value
from rmtscale.costs.time.fused import fused_kernels
from rmtscale.costs.time.kernel_tape import KernelTape
from rmtscale.costs.time.kernels import (
    COPY,
    CURVE,
    JOIN,
    PICK,
    PLAIN,
    SPREAD,
    UNEVEN,
    Attention,
    KernelList,
    aligned,
)
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


@lru_cache(maxsize=512)
def lean_kernels(
    model: ModelSpec, workload: Workload, recurrence: Recurrence, *, compiled: bool
) -> KernelList:
    """Returns what a full segment launches, of a model of which ``runs_lean`` is true."""
    step = _LeanStep(model, workload, recurrence, compiled)
    step.run()
    return KernelList(tuple(step.tape.forward))


class _LeanStep:
    """One segment of ``batch`` sequences, operator by operator."""

    def __init__(
        self, model: ModelSpec, workload: Workload, recurrence: Recurrence, compiled: bool
    ) -> None:
        self.model, self.workload, self.compiled = model, workload, compiled
        self.batch, self.size = workload.batch_size, recurrence.segment_size
        self.memory, self.read = recurrence.memory_tokens, read_positions(recurrence)
        self.tape = KernelTape(workload.casts, row=self.size)

    def run(self) -> None:
        model, tape = self.model, self.tape
        rows, last_rows = self.batch * self.size, self.batch * self.read
        with self._compiled():
            self._enter()
        biases = 2 * model.layers
        tape.launch(JOIN, 2 * self._value(biases).size_bytes, biases * model.width)
        self._matmul(biases, biases, model.width)
        for index in range(model.layers - 1):
            self._norm(rows, first=not index)
            self._matmul(rows, model.width, 3 * model.width)
            self._attend()
            self._matmul(rows, model.width, model.width, onto=True)
            self._feed_forward(rows)
        self._norm(rows, first=model.layers == 1)
        if self.batch > 1:  # the last positions of each sequence are no whole matrix
            self._copy(last_rows)
        self._last_attention(rows, last_rows)
        self._matmul(last_rows, model.width, model.width, onto=True)
        self._feed_forward(last_rows)
        self._norm(last_rows)
        for positions in (self.memory, 1):  # into the buffers of state and text
            if positions:
                self._copy(self.batch * positions)

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Compiles together what is launched inside, if anything is compiled."""
        begin = len(self.tape.forward)
        yield
        if self.compiled:
            self.tape.forward[begin:] = fused_kernels(self.tape.forward[begin:])

    def _value(self, rows: int, numbers: int | None = None) -> Value:
        """So many rows of the model's width, in the dtype of the weights."""
        each = self.model.width if numbers is None else numbers
        return self.tape.value(rows * each, self.workload.weight_bytes, False)

    def _copy(self, rows: int) -> None:
        moved = self._value(rows)
        self.tape.launch(COPY, 2 * moved.size_bytes, moved.numbers)

    def _matmul(
        self, rows: int, inner: int, outer: int, *, batch: int = 1, width: int = 0,
        onto: bool = False,
    ) -> None:  # fmt: skip
        width = width or self.workload.weight_bytes
        made = self.tape.matmul(batch, rows, outer, inner, width, aligned(inner, outer))
        self.tape.forward.append(made._replace(onto=onto))

    def _enter(self) -> None:
        text, whole = self.size - 2 * self.memory, self._value(self.batch * self.size)
        self.tape.launch(PICK, 2 * self._value(self.batch * text).size_bytes)
        if self.memory:
            self.tape.launch(JOIN, 2 * whole.size_bytes, whole.numbers)
        self.tape.add(whole, self._value(self.size))

    def _norm(self, rows: int, *, first: bool = False) -> None:
        """A norm, and before it the biases that the stream lacks: none before the first."""
        stream, missing = self._value(rows), self._value(1)
        with self._compiled():
            if not first:
                moved = 2 * stream.size_bytes + missing.size_bytes
                self.tape.launch(SPREAD, moved, stream.numbers)
            self.tape.layer_norm(stream, rows, trained=False)

    def _attend(self) -> None:
        model, width = self.model, self.workload.weight_bytes
        heads = self.batch * model.heads
        self.tape.forward.append(
            Attention(heads, self.size, model.head_width, width, False, causal=True)
        )

    def _feed_forward(self, rows: int) -> None:
        width, inner = self.model.width, self.model.mlp_width
        self._norm(rows)
        self._matmul(rows, width, inner)
        if not gelu_inside(self.workload):
            made = self._value(rows, inner)
            self.tape.launch(CURVE, 2 * made.size_bytes, made.numbers)
        self._matmul(rows, inner, width, onto=True)

    def _last_attention(self, rows: int, last_rows: int) -> None:
        """Causal attention of the read positions to all, in fp32, written out."""
        model, tape, batch = self.model, self.tape, self.batch
        heads, head = batch * model.heads, model.head_width
        self._matmul(rows, model.width, 2 * model.width)
        if batch > 1:
            self._copy(last_rows)
        self._matmul(last_rows, model.width, model.width)
        with self._compiled():
            keys, query = self._value(rows), self._value(last_rows)
            query = tape.scaled(tape.cast(query, FP32_BYTES))
            wide = tape.cast(keys, FP32_BYTES)
            if batch > 1:  # what is no whole batch of matrices is copied
                for one in (query, wide):
                    tape.launch(COPY, 2 * one.size_bytes, one.numbers)
            self._matmul(self.read, head, self.size, batch=heads, width=FP32_BYTES)
            pairs = self.read * self.size * MASK_BYTES
            tape.launch(PLAIN, pairs)
            tape.launch(PLAIN, 2 * pairs)
            scores = tape.value(heads * self.read * self.size, FP32_BYTES, False)
            tape.launch(PLAIN, 2 * scores.size_bytes)
            tape.launch(UNEVEN, 2 * scores.size_bytes + pairs, scores.numbers)
            shares = tape.softmax(scores, FP32_BYTES, 0)
            tape.cast(shares, keys.width)
            if batch > 1:
                self._copy(rows)
            self._matmul(self.read, self.size, head, batch=heads)
        self._copy(last_rows)
