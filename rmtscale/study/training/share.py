"""Which part of the work is this process's: rows of a batch, batches of a validation.

Every process knows the whole batch of a step, which depends on the step alone, and takes its rows
of it. So how many processes there are changes nothing but who computes what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput


@dataclass(frozen=True, slots=True)
class Share:
    """Names one of ``ranks`` equal parts of the work."""

    rank: int = 0
    ranks: int = 1

    @property
    def writes(self) -> bool:
        """Tells whether this is the one process that writes files."""
        return self.rank == 0

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

    def takes(self, index: int) -> bool:
        """Tells whether the batch of this number, of a validation, is read here."""
        return index % self.ranks == self.rank

    def total(self, parts: Tensor) -> Tensor:
        """Returns the sum over all processes; each of them has to ask for it."""
        if self.ranks == 1:
            return parts
        parts = parts.clone()
        self.add_up(parts)
        return parts

    def add_up(self, parts: Tensor) -> None:
        """Puts the sum over all processes into each one's tensor."""
        distributed: Any = torch.distributed
        if self.ranks > 1:
            distributed.all_reduce(parts)

    @torch.no_grad()
    def begin_alike(self, model: nn.Module) -> None:
        """Gives every process the first one's weights and buffers."""
        distributed: Any = torch.distributed
        if self.ranks > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                distributed.broadcast(tensor.detach(), 0)


ALL = Share()
"""All of it: there is one process."""
