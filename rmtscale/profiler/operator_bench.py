"""Single operators on the GPU at hand: what a machine's constants are found from.

Each operator runs as a captured graph of several calls, so that the host has no part in its time,
and the shortest replay counts. No model's weights are read and no model is run, but for toys
(``toy_bench``).

Shape legend: M rows, N columns, K inner dimension, H heads, L length, D head width, E model width,
V vocabulary.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from math import prod
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rmtscale.costs.time import kernels as k
from rmtscale.costs.time.kernels import Attention, Kernel, Matmul, Stream, aligned
from rmtscale.costs.time.measured import MeasuredHost, MeasuredKernel, Sustained
from rmtscale.profiler.subject import DTYPES
from rmtscale.profiler.toy_bench import toy_steps
from rmtscale.steps import steps

Found = MeasuredKernel | MeasuredHost | Sustained
_GRAPH_SECONDS = 8e-4
"""How long one replay is to take, about."""
_LONG_SECONDS = 3e-3
"""An operator of this length is timed without a graph: its launch is nothing beside it."""
_LONGEST_SECONDS = 55.0
"""No further operator of a part is begun after this, but for what heats the chip."""
_SUSTAINED_SECONDS = 1.5
_LONG_ROW = 2048


class Sizes:
    """Which sizes are measured: a GPU's, or a few tiny ones where there is none."""

    def __init__(self, *, tiny: bool) -> None:
        self.rows = (64,) if tiny else (256, 512, 1000, 2048, 4096, 16384)
        self.matrices = (
            ((32, 16),)
            if tiny
            else (
                *((768, 768), (3072, 768), (768, 3072), (2304, 768), (1024, 1024)),
                *((2048, 2048), (8192, 2048), (2048, 8192), (4096, 4096)),
            )
        )
        """(outer, inner) of a linear layer."""
        self.heads = ((2, 8),) if tiny else ((12, 64), (16, 64), (32, 128))
        self.lengths = (64,) if tiny else (500, 1000, 2048, 4096, 8192, 32768)
        self.words = ((33, 16),) if tiny else ((50257, 768), (50304, 768), (50257, 2048))
        self.streams = (2**10,) if tiny else (2**12, 2**18, 2**22, 2**24, 2**26)
        self.widths = (32,) if tiny else (768, 2048)
        self.squares = (32,) if tiny else (1000, 2000, 4000)


class OperatorBench:
    """Measures operators one after another: 33 seconds on an H200, at most a minute."""

    def __init__(self, device: str) -> None:
        self.device, self.cuda = device, device == "cuda"
        self.ends = perf_counter() + _LONGEST_SECONDS
        self.sizes = Sizes(tiny=not self.cuda)

    def run(self) -> Iterator[Found]:
        """Yields what was measured: the host first, then operators, then what heats the chip."""
        torch.set_float32_matmul_precision("highest")
        parts = (
            lambda: toy_steps(self.device),
            self.streams,
            self.matmuls,
            self.heads,
            self.squares,
            self.attention,
            self.sustained,
        )
        for part in steps(parts, "measuring operators"):
            for found in part():
                yield found
                if perf_counter() > self.ends:
                    break
            gc.collect()
            if self.cuda:
                torch.cuda.empty_cache()

    def _made(self, *shape: int, arithmetic: str, grad: bool = False) -> Tensor:
        exact = torch.randn(*shape, device=self.device)
        return exact.to(DTYPES[arithmetic]).requires_grad_(grad)

    def _timed(self, call: Callable[[], object]) -> float:
        """The shortest time of one call, in seconds."""
        if not self.cuda:
            return _shortest(call, 3)
        call()
        estimate = self._events(call, 1)
        if estimate > _LONG_SECONDS:
            return min(self._events(call, 1) for _ in range(3))
        calls = int(max(2, min(30, _GRAPH_SECONDS / max(estimate, 2e-6))))
        try:
            return self._replayed(call, calls)
        except RuntimeError:  # an operator that cannot be captured
            torch.cuda.synchronize()
            return min(self._events(call, 1) for _ in range(5))

    def _replayed(self, call: Callable[[], object], calls: int) -> float:
        """Time of one of so many calls in a captured graph."""
        make: Any = torch.cuda.Stream
        stream = make()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                call()
        graph.replay()
        return min(self._events(graph.replay, calls) for _ in range(4))

    def _events(self, call: Callable[[], object], calls: int) -> float:
        event: Any = torch.cuda.Event
        first, last = (event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        call()
        last.record()
        torch.cuda.synchronize()
        return float(first.elapsed_time(last)) / 1000 / calls

    def _found(
        self, kernel: Kernel, arithmetic: str, name: str, call: Callable[[], object]
    ) -> MeasuredKernel:
        return MeasuredKernel(kernel, arithmetic, name, self._timed(call))

    def matmuls(self) -> Iterator[Found]:
        """Linear layers: forward, and both gradients."""
        for arithmetic in ("bf16", "fp32"):
            for outer, inner in self.sizes.matrices:
                weight = self._made(outer, inner, arithmetic=arithmetic)
                for rows in self.sizes.rows:
                    if arithmetic == "fp32" and prod((rows, outer, inner)) > 10**11:
                        continue
                    x = self._made(rows, inner, arithmetic=arithmetic)
                    y = self._made(rows, outer, arithmetic=arithmetic)
                    yield from self._linear(x, y, weight, arithmetic)

    def _linear(self, x: Tensor, y: Tensor, weight: Tensor, arithmetic: str) -> Iterator[Found]:
        (rows, inner), outer = x.shape, weight.shape[0]
        even = aligned(inner, outer) or arithmetic == "fp32"
        wide = weight.element_size()
        for name, (m, n, depth), gradient, call in (
            ("forward", (rows, outer, inner), False, lambda: torch.mm(x, weight.t())),
            ("input gradient", (rows, inner, outer), True, lambda: torch.mm(y, weight)),
            ("weight gradient", (inner, outer, rows), True, lambda: torch.mm(y.t(), x)),
        ):
            kernel = Matmul(1, m, n, depth, wide, even, gradient)
            yield self._found(kernel, arithmetic, name, call)

    def heads(self) -> Iterator[Found]:
        """A head over a vocabulary, aligned and not."""
        for arithmetic in ("bf16", "fp32"):
            for words, width in self.sizes.words:
                weight = self._made(words, width, arithmetic=arithmetic)
                for rows in self.sizes.rows[2:5:2] or self.sizes.rows:
                    if arithmetic == "fp32" and rows > 2000:
                        continue
                    x = self._made(rows, width, arithmetic=arithmetic)
                    y = self._made(rows, words, arithmetic=arithmetic)
                    yield from self._linear(x, y, weight, arithmetic)

    def squares(self) -> Iterator[Found]:
        """The products of eager attention."""
        for arithmetic in ("fp32", "bf16"):
            for heads, width in self.sizes.heads[::2]:
                for size in self.sizes.squares:
                    if heads * size * size > 2**29:
                        continue
                    q = self._made(heads, size, width, arithmetic=arithmetic)
                    p = self._made(heads, size, size, arithmetic=arithmetic)
                    even = aligned(size, width) or arithmetic == "fp32"
                    wide = q.element_size()
                    for name, (m, n, depth), call in (
                        ("scores", (size, size, width), lambda q=q: torch.bmm(q, q.mT)),
                        ("mixed", (size, width, size), lambda q=q, p=p: torch.bmm(p, q)),
                    ):
                        kernel = Matmul(heads, m, n, depth, wide, even)
                        yield self._found(kernel, arithmetic, name, call)

    def attention(self) -> Iterator[Found]:
        """Fused attention, forward and backward."""
        for arithmetic in ("bf16", "fp32"):
            for heads, width in self.sizes.heads:
                for size in self.sizes.lengths:
                    if arithmetic == "fp32" and size > 4096:
                        continue
                    q, key, v = (
                        self._made(1, heads, size, width, arithmetic=arithmetic, grad=True)
                        for _ in range(3)
                    )
                    g = self._made(1, heads, size, width, arithmetic=arithmetic)

                    def forward(q: Tensor = q, key: Tensor = key, v: Tensor = v) -> Tensor:
                        return F.scaled_dot_product_attention(q, key, v, is_causal=True)

                    def both(
                        q: Tensor = q, key: Tensor = key, v: Tensor = v, g: Tensor = g
                    ) -> object:
                        out = F.scaled_dot_product_attention(q, key, v, is_causal=True)
                        return torch.autograd.grad(out, (q, key, v), g)

                    kernel = Attention(heads, size, width, q.element_size(), False, True)
                    with torch.no_grad():
                        once = self._found(kernel, arithmetic, "attention", forward)
                    yield once
                    if size > 16384:
                        continue
                    whole = self._timed(both)
                    back = kernel._replace(backward=True)
                    seconds = max(whole - once.seconds, 1e-9)
                    yield MeasuredKernel(back, arithmetic, "attention backward", seconds)

    def streams(self) -> Iterator[Found]:
        """Whatever moves tensors: element by element, by rows, in another order."""
        for arithmetic in ("fp32", "bf16"):
            for numbers in self.sizes.streams:
                yield from self._elementwise(numbers, arithmetic)
            for width in self.sizes.widths:
                for rows in self.sizes.rows[::2]:
                    yield from self._by_rows(rows, width, arithmetic)
            for size in self.sizes.squares:
                yield from self._squares(size, arithmetic)
        for words, _ in self.sizes.words[:1]:
            for rows in self.sizes.rows[1:4:2] or self.sizes.rows:
                yield from self._losses(rows, words)

    def _elementwise(self, numbers: int, arithmetic: str) -> Iterator[Found]:
        x, y = (self._made(numbers, arithmetic=arithmetic) for _ in range(2))
        out, moved = torch.empty_like(x), x.nbytes
        wide, narrow = (4, 2) if arithmetic == "fp32" else (2, 4)
        cast = k.PLAIN if narrow < wide else k.COPY
        other = DTYPES["bf16" if arithmetic == "fp32" else "fp32"]
        for name, kind, bytes_, call in (
            ("add", k.PLAIN, 3 * moved, lambda: torch.add(x, y, out=out)),
            ("scale", k.PLAIN, 2 * moved, lambda: torch.mul(x, 0.5, out=out)),
            ("gelu", k.CURVE, 2 * moved, lambda: F.gelu(x)),
            ("cast", cast, numbers * (wide + narrow), lambda: x.to(other)),
            ("dropout", k.DROPOUT, 2 * moved + numbers, lambda: torch.native_dropout(x, 0.1, True)),
        ):
            yield self._found(Stream(kind, bytes_, numbers), arithmetic, name, call)

    def _by_rows(self, rows: int, width: int, arithmetic: str) -> Iterator[Found]:
        aten = torch.ops.aten
        x, y = (self._made(rows, width, arithmetic=arithmetic) for _ in range(2))
        weight, bias = (self._made(width, arithmetic=arithmetic) for _ in range(2))
        _, mean, scale = aten.native_layer_norm(x, [width], weight, bias, 1e-5)
        moved, numbers = x.nbytes, rows * width
        column = self._made(rows, 1, arithmetic=arithmetic)
        turned = x.view(rows, -1, 16).transpose(0, 1)

        def back() -> object:
            wanted = [True, True, True]
            return aten.native_layer_norm_backward(y, x, [width], mean, scale, weight, bias, wanted)

        for name, stream, call in (
            (
                "norm",
                Stream(k.NORM, 2 * moved),
                lambda: aten.native_layer_norm(x, [width], weight, bias, 1e-5),
            ),
            ("norm backward", Stream(k.NORM_BACK, 3 * moved, rows), back),
            ("bias gradient", Stream(k.SUM, moved), lambda: y.sum(0)),
            ("row scale", Stream(k.SPREAD, 2 * moved, numbers), lambda: x * column),
            ("reorder", Stream(k.COPY, 2 * moved, numbers), turned.contiguous),
            ("join", Stream(k.JOIN, 4 * moved, 2 * numbers), lambda: torch.cat((x, y), -1)),
        ):
            yield self._found(stream, arithmetic, name, call)

    def _squares(self, size: int, arithmetic: str) -> Iterator[Found]:
        aten = torch.ops.aten
        x = self._made(12, size, size, arithmetic=arithmetic)
        p = torch.softmax(x, -1)
        softmax = k.LONG_SOFTMAX if size > _LONG_ROW else k.SOFTMAX
        mask = self._made(size, size, arithmetic=arithmetic)
        moved, numbers, dtype = x.nbytes, x.numel(), DTYPES[arithmetic]
        for name, stream, call in (
            ("softmax", Stream(softmax, 2 * moved, numbers), lambda: torch.softmax(x, -1)),
            (
                "softmax backward",
                Stream(k.SOFTMAX_BACK, 3 * moved, numbers),
                lambda: aten._softmax_backward_data(x, p, -1, dtype),
            ),
            ("mask", Stream(k.UNEVEN, 2 * moved + mask.nbytes, numbers), lambda: x + mask),
        ):
            yield self._found(stream, arithmetic, name, call)

    def _losses(self, rows: int, words: int) -> Iterator[Found]:
        aten = torch.ops.aten
        x = self._made(rows, words, arithmetic="fp32")
        logs = torch.log_softmax(x, -1)
        ids = torch.randint(words, (rows,), device=self.device)
        width = self.sizes.widths[0]
        g = self._made(rows, width, arithmetic="fp32")
        for name, stream, call in (
            ("loss", Stream(k.LOSS, 2 * x.nbytes), lambda: torch.log_softmax(x, -1)),
            (
                "loss backward",
                Stream(k.LOSS_BACK, 3 * x.nbytes),
                lambda: aten._log_softmax_backward_data(x, logs, -1, torch.float32),
            ),
            ("row maximum", Stream(k.REDUCE, x.nbytes), lambda: x.amax(1, keepdim=True)),
            (
                "embedding gradient",
                Stream(k.SCATTER, words * width * 4 + g.nbytes, rows),
                lambda: aten.embedding_dense_backward(g, ids, words, -1, False),
            ),
        ):
            yield self._found(stream, "fp32", name, call)

    def sustained(self) -> Iterator[Found]:
        """One large product again and again: what the power cap leaves of its rate."""
        if not self.cuda:
            return
        size = 8192
        x, y = (self._made(size, size, arithmetic="bf16") for _ in range(2))
        out = torch.empty_like(x)
        torch.cuda.synchronize()
        series, begun = [], perf_counter()
        while perf_counter() - begun < _SUSTAINED_SECONDS:
            seconds = self._events(lambda: [torch.mm(x, y, out=out) for _ in range(10)], 10)
            series.append((perf_counter() - begun, seconds))
        late = [seconds for at, seconds in series if at > _SUSTAINED_SECONDS / 2]
        yield Sustained("bf16", min(s for _, s in series), sum(late) / len(late))


def _shortest(call: Callable[[], object], times: int) -> float:
    shortest = float("inf")
    for _ in range(times):
        begun = perf_counter()
        call()
        shortest = min(shortest, perf_counter() - begun)
    return shortest
