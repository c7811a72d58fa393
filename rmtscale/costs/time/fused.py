"""Kernels of a compiled segment: what streams between two matmuls becomes one kernel.

A compiler that knows a whole block writes one kernel for operators that follow one another: what
one makes the next finds in a register. Such a kernel moves about as much as the largest of those
that it replaces moves alone. Gathers, scattered sums and sums over all rows stay as they are, as do
matrix multiplications and fused attention, which are the library's. The rule has no constant. It
was chosen after looking at captured and compiled steps of GPT-2 (``docs/accuracy.md``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from rmtscale.costs.time.growing import Listed
from rmtscale.costs.time.kernels import (
    NORM_BACK,
    PICK,
    PLAIN,
    SCATTER,
    SUM,
    Kernel,
    KernelList,
    Stream,
)

_ALONE = frozenset({PICK, SCATTER, SUM})


@lru_cache(maxsize=1024)
def fused(kernels: Listed) -> KernelList:
    """Returns the kernels that a compiler makes of a list."""
    return KernelList(tuple(fused_kernels(kernels.kernels)))


def fused_kernels(kernels: Iterable[Kernel]) -> Iterator[Kernel]:
    """Yields the kernels that a compiler makes of some, in their order."""
    run: list[Stream] = []
    for one in kernels:
        if isinstance(one, Stream) and one.kind not in _ALONE:
            run.append(one)
            continue
        yield from _one_of(run)
        run.clear()
        yield one
    yield from _one_of(run)


def _one_of(run: list[Stream]) -> Iterator[Stream]:
    if not run:
        return
    moved = max(one.moved_bytes for one in run)
    rows = max((one.numbers for one in run if one.kind == NORM_BACK), default=0)
    # A norm's weights are summed over all rows, in its own time, whatever is around it.
    yield Stream(NORM_BACK, moved, rows) if rows else Stream(PLAIN, moved)
