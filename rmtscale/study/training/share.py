"""Which part of the work is this process's: rows of a batch, batches of a validation.

Every process knows the whole batch of a step, which depends on the step alone, and takes its rows
of it. So how many processes there are changes nothing but who computes what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput

T = TypeVar("T")
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Names one of ``ranks`` equal parts of the work."""

    rank: int = 0
    ranks: int = 1
    copy: int = 0
    """Which of the processes that have the same part, and share matrices."""
    copies: int = 1
    together: bool = False
    """All processes run a model at the same time: each of them needs the others' weights."""

    @property
    def processes(self) -> int:
        """How many there are in all."""
        return self.ranks * self.copies

    @property
    def writes(self) -> bool:
        """Tells whether this is the one process that writes files."""
        return self.rank == 0 and self.copy == 0

    def rows(self, count: int) -> slice:
        """Returns this process's rows of ``count``: parts differ by one row at most.

        Raises:
            BadInput: fewer rows than processes.
        """
        if count < self.ranks:
            raise BadInput(
                f"batch size {count} on {self.ranks} processes: expected {self.ranks} or more, a "
                "row for each"
            )
        return slice(self.rank * count // self.ranks, (self.rank + 1) * count // self.ranks)

    def dealt(self, batches: Iterable[T]) -> Iterator[tuple[T, bool]]:
        """Yields the batches of a validation that are read here, and whether each is counted.

        Where all run together, those that are left without one in the last round read the first
        of all, which is not counted.
        """
        first: list[T] = []
        index = -1
        for index, batch in enumerate(batches):
            if not first:
                first.append(batch)
            if index % self.ranks == self.rank:
                yield batch, True
        left = (index + 1) % self.ranks
        if self.together and 0 < left <= self.rank:
            yield first[0], False

    def in_order(
        self, batches: Iterable[T], read: Callable[[T], Tensors]
    ) -> Iterator[tuple[T, Tensors]]:
        """Yields every batch with what was read of it, whoever read it, as one process would.

        Args:
            batches: the same on every process, which takes some of them.
            read: gives tensors, of the same shapes for each batch.
        """
        group: list[T] = []
        for batch in batches:
            group.append(batch)
            if len(group) == self.ranks:
                yield from self._read_together(group, read)
                group = []
        if group:
            yield from self._read_together(group, read)

    def _read_together(
        self, group: list[T], read: Callable[[T], Tensors]
    ) -> Iterator[tuple[T, Tensors]]:
        # Who is left without a batch reads the last one too: all take part in what follows.
        found = [self.gathered(one) for one in read(group[min(self.rank, len(group) - 1)])]
        for place, batch in enumerate(group):
            yield batch, tuple(parts[place] for parts in found)

    def gathered(self, own: Tensor) -> list[Tensor]:
        """Returns each process's tensor, all of one shape; each of them has to ask for it."""
        if self.ranks == 1:
            return [own]
        distributed: Any = torch.distributed
        parts = [torch.empty_like(own) for _ in range(self.ranks)]
        distributed.all_gather(parts, own.contiguous())
        return parts

    def agree(self, device: torch.device, *wanted: bool) -> list[bool]:
        """Tells, on all processes alike, which of these any of them wants."""
        flags = torch.tensor([float(each) for each in wanted], device=device)
        return [each > 0 for each in self.any(flags).tolist()]

    def longest(self, seconds: float, device: torch.device) -> float:
        """Returns the longest time of any process."""
        return float(self.any(torch.tensor(seconds, dtype=torch.float64, device=device)))

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Lets the first process do something before the others do, which find it done."""
        distributed: Any = torch.distributed
        if self.processes > 1 and not self.writes:
            distributed.barrier()
        yield
        if self.processes > 1 and self.writes:
            distributed.barrier()

    def total(self, parts: Tensor) -> Tensor:
        """Returns the sum over all parts, the same on every process; each of them has to ask."""
        if self.processes == 1:
            return parts
        # Of those that have the same part one is counted.
        parts = parts.clone() if self.copy == 0 else torch.zeros_like(parts)
        self.add_up(parts)
        return parts

    def add_up(self, parts: Tensor) -> None:
        """Puts the sum over all processes into each one's tensor."""
        distributed: Any = torch.distributed
        if self.processes > 1:
            distributed.all_reduce(parts)

    def any(self, wanted: Tensor) -> Tensor:
        """Returns the largest of every number over all processes; each of them has to ask."""
        distributed: Any = torch.distributed
        if self.processes > 1:
            distributed.all_reduce(wanted, op=distributed.ReduceOp.MAX)
        return wanted

    @torch.no_grad()
    def begin_alike(self, model: nn.Module) -> None:
        """Gives every process the first one's weights and buffers."""
        distributed: Any = torch.distributed
        if self.ranks > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                distributed.broadcast(tensor.detach(), 0)


ALL = Share()
"""All of it: there is one process."""
