"""Batches made ahead of time by a thread, in page-locked memory where there is a GPU.

A thread and not a ``DataLoader``: most of the making is numpy, which lets other threads run, while
a worker process has to send every batch and starts again with every stage.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from rmtscale.study.training.curriculum import Draw
from rmtscale.study.training.share import Share

_DEPTH = 6
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Holds one step's data, on the host: all of it, or a process's rows."""

    step: int
    draw: Draw
    inputs: tuple[Tensor, ...]
    """Arguments of the model; ids (B, N) come first."""
    constant: int
    """A number that goes with them: segments of the burn-in, or columns scored."""
    scored: int
    """Number of labels that the loss is the mean over: answers, or tokens."""
    weight: float = 1.0
    """Factor of the loss, with which its mean over processes is that over the whole batch."""
    rows: int = 0
    """Rows of the whole batch, where these are some of them."""
    repeats: bool = False
    """Whether what is scored repeats what was read before: its loss is reported apart."""

    def part(self, share: Share, scored: Callable[[Batch], int]) -> Batch:
        """Returns a process's rows.

        Args:
            share: of the process.
            scored: counts what the loss of some rows is the mean over.

        Raises:
            BadInput: fewer rows than processes.
        """
        count = len(self.inputs[0])
        if share.ranks == 1:
            return replace(self, rows=count)
        rows = share.rows(count)
        own = replace(self, inputs=tuple(tensor[rows] for tensor in self.inputs), rows=count)
        found = scored(own)
        weight = found * share.ranks / self.scored if self.scored else 1.0
        return replace(own, scored=found, weight=weight)

    def to(self, device: torch.device) -> tuple[Tensor, ...]:
        """Copies the tensors to the device, beside the step before."""
        return tuple(tensor.to(device, non_blocking=True) for tensor in self.inputs)

    def pinned(self) -> Batch:
        """Copies the batch to page-locked memory, which a GPU can copy from by itself."""
        pinned = tuple(tensor.pin_memory() for tensor in self.inputs)
        return replace(self, inputs=pinned)


class Prefetcher:
    """Makes the batches of consecutive steps ahead of time, in order.

    What a batch is depends on its step alone, so that batches made for a stage that has ended can
    be thrown away and made again for the next.

    Args:
        make: the batch of a step.
        start, stop: steps, the last one not included.
        pin_for: use page-locked memory, for copies to this GPU.
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        start: int,
        stop: int,
        *,
        pin_for: torch.device | None = None,
    ) -> None:
        self._make, self._steps, self._pin_for = make, range(start, stop), pin_for
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(_DEPTH)
        self._closed = threading.Event()
        self.waited_seconds = 0.0
        """Time ``next`` has waited for data so far."""
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            if self._pin_for is not None:
                # Each thread has its own; without this all processes would open the first GPU.
                torch.cuda.set_device(self._pin_for.index or 0)  # "cuda" has no index
            for step in self._steps:
                batch = self._make(step)
                self._put(batch if self._pin_for is None else batch.pinned())
                if self._closed.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def next(self) -> Batch:
        """Returns the batch of the next step.

        Raises:
            whatever making it raised.
        """
        start = perf_counter()
        item = self._queue.get()
        self.waited_seconds += perf_counter() - start
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Ends the thread; what was made is thrown away."""
        self._closed.set()
        self._thread.join()
