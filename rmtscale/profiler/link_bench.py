"""``python -m rmtscale.profiler.link_bench FILE RANK RANKS DEVICE``: collectives on one rank.

One such process runs on each GPU; they meet at FILE. Groups of 2, 4, 8 and so on up to all of them
are measured, all groups of a size at once, as a layout uses them. Before each series the GPU is
given matmuls, so that the host is ahead when the calls begin, and a small sum, so that all ranks
begin together. The first rank writes a line for each kind and size to standard output. NCCL's
settings are those of the environment.

Shape legend: none but flat tensors of so many numbers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from rmtscale.costs.time.measured import MeasuredCollective, to_line
from rmtscale.processes import follow_parent
from rmtscale.specs.link_speed import ALL_REDUCE, EXCHANGE, GATHER, KINDS, REDUCE, SEND

_TIMEOUT_SECONDS = 60.0
_WARMUPS = 3
_SERIES_SECONDS, _MOST_CALLS = 3e-3, 20
_LONGEST_CALL_SECONDS = 0.25
"""No larger size of a kind is tried after a call of this length."""
_AHEAD, _AHEAD_TIMES = 8192, 2
"""Matmuls of this size take 2 to 8 ms: by then the host has started all calls of a series."""


class Sizes(NamedTuple):
    """The sizes that are measured: on GPUs, or tiny where there are none."""

    bytes: tuple[int, ...]
    dtype: torch.dtype
    series: int
    """Times that each call's time is taken."""


def sizes_of(device: str) -> Sizes:
    """Returns the sizes of a kind of device."""
    if device == "cpu":
        return Sizes((2**10, 2**14, 2**18), torch.float32, 3)
    return Sizes(tuple(2**power for power in range(10, 31, 2)), torch.bfloat16, 9)


class Group(NamedTuple):
    """The ranks of one group, and this one's place in it."""

    handle: dist.ProcessGroup
    ranks: tuple[int, ...]
    rank: int


class LinkBench:
    """Measures collectives of one group."""

    def __init__(self, group: Group, device: torch.device) -> None:
        self.group, self.device = group, device
        self.cuda = device.type == "cuda"
        if self.cuda:
            side = torch.randn(_AHEAD, _AHEAD, device=device, dtype=torch.bfloat16)
            self.ahead = (side, torch.empty_like(side))
        self.tiny = torch.zeros(1, device=device)

    def run(self, sizes: Sizes) -> Iterator[MeasuredCollective]:
        """Yields each kind by size, the smallest first."""
        ranks = len(self.group.ranks)
        for kind in KINDS:
            for size in sizes.bytes:
                numbers = size // sizes.dtype.itemsize // ranks * ranks
                call = self._call(kind, numbers, sizes.dtype)
                for _ in range(_WARMUPS):
                    call()
                estimate = self._series(call, 1)[0]
                calls = int(max(1, min(_MOST_CALLS, _SERIES_SECONDS / estimate)))
                series = [self._series(call, calls) for _ in range(sizes.series)]
                device, host = zip(*series, strict=True)
                numbers_bytes = numbers * sizes.dtype.itemsize
                yield MeasuredCollective(
                    kind, ranks, numbers_bytes, min(device), median(device), min(host)
                )
                if estimate > _LONGEST_CALL_SECONDS:
                    break

    def _call(self, kind: str, numbers: int, dtype: torch.dtype) -> Callable[[], object]:
        group, ranks = self.group, len(self.group.ranks)
        whole = torch.zeros(numbers, device=self.device, dtype=dtype)
        part = torch.zeros(numbers // ranks, device=self.device, dtype=dtype)
        if kind == ALL_REDUCE:
            return lambda: dist.all_reduce(whole, group=group.handle)
        if kind == GATHER:
            return lambda: dist.all_gather_into_tensor(whole, part, group=group.handle)
        if kind == REDUCE:
            return lambda: dist.reduce_scatter_tensor(part, whole, group=group.handle)
        other = torch.empty_like(whole)
        if kind == EXCHANGE:
            return lambda: dist.all_to_all_single(other, whole, group=group.handle)
        assert kind == SEND, kind
        behind = group.ranks[(group.rank + 1) % ranks]
        before = group.ranks[(group.rank - 1) % ranks]

        def send() -> None:
            hops = (
                dist.P2POp(dist.isend, whole, behind, group.handle),
                dist.P2POp(dist.irecv, other, before, group.handle),
            )
            for work in dist.batch_isend_irecv(list(hops)):
                work.wait()

        return send

    def _series(self, call: Callable[[], object], calls: int) -> tuple[float, float]:
        """Seconds of one of so many calls: by the slowest rank, and of this host to start it."""
        dist.barrier(self.group.handle)
        if self.cuda:
            begin, end = _events()
            torch.cuda.synchronize()
            for _ in range(_AHEAD_TIMES):
                torch.mm(self.ahead[0], self.ahead[0], out=self.ahead[1])
            dist.all_reduce(self.tiny, group=self.group.handle)
            begin.record()
            started = perf_counter()
            for _ in range(calls):
                call()
            host = perf_counter() - started
            end.record()
            torch.cuda.synchronize()
            seconds = begin.elapsed_time(end) / 1e3
        else:
            started = perf_counter()
            for _ in range(calls):
                call()
            seconds = host = perf_counter() - started
        slowest = torch.tensor([seconds / calls], dtype=torch.float64, device=self.device)
        dist.all_reduce(slowest, dist.ReduceOp.MAX, self.group.handle)
        return float(slowest.item()), host / calls


def _events() -> tuple[Any, Any]:
    event: Any = torch.cuda.Event
    return event(enable_timing=True), event(enable_timing=True)


def group_sizes(ranks: int) -> list[int]:
    """Returns 2, 4, 8 and so on, and all."""
    sizes = []
    size = 2
    while size < ranks:
        sizes.append(size)
        size *= 2
    return [*sizes, ranks]


def _groups(size: int, rank: int, ranks: int, backend: str) -> Group | None:
    """Makes all groups of a size; returns this rank's, if it is in one."""
    mine = None
    for first in range(0, ranks - size + 1, size):
        members = tuple(range(first, first + size))
        handle = dist.new_group(list(members), backend=backend)
        if rank in members:
            mine = Group(handle, members, rank - first)
    return mine


def main() -> None:
    """Joins the others and measures."""
    follow_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # standard output is for answers only
    path, rank, ranks, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        init_method=f"file://{path}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=_TIMEOUT_SECONDS),
        device_id=device if kind == "cuda" else None,
    )
    for size in group_sizes(ranks):
        group = _groups(size, rank, ranks, backend)
        if group is not None:
            for found in LinkBench(group, device).run(sizes_of(kind)):
                if rank == 0:
                    answers.write(to_line(found) + "\n")
                    answers.flush()
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
