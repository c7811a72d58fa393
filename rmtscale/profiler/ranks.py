"""The processes that measure one point together: how they meet, agree and wait for each other.

They agree on the host, over gloo: nothing of it is on a GPU or among what is counted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of one process among those of a point."""

    rank: int = 0
    size: int = 1
    store: str = ""
    """File by which they find each other, on one host."""


class Ranks:
    """This process among the others; alone it waits for nobody.

    Args:
        place: None: this process is alone, and no group is made.
        device: ``cuda``: it takes the GPU of its rank, and NCCL; else gloo.
    """

    def __init__(self, place: Place | None, device: str) -> None:
        self.place = place or Place()
        if place is None:
            return
        import torch
        import torch.distributed as dist

        # What of torch looks for a rank looks here, where torchrun's worker has left its own.
        where = {"RANK": place.rank, "LOCAL_RANK": place.rank, "WORLD_SIZE": place.size}
        os.environ.update({name: str(number) for name, number in where.items()})
        backend = "gloo"
        if device == "cuda":
            torch.cuda.set_device(place.rank)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(
            backend, init_method=f"file://{place.store}", rank=place.rank, world_size=place.size
        )

    def agree(self, wanted: bool) -> bool:
        """Returns whether any process wants it: the same answer on all of them."""
        if self.place.size == 1:
            return wanted
        import torch
        import torch.distributed as dist

        asked: Any = torch.tensor([int(wanted)])
        dist.all_reduce(asked, op=dist.ReduceOp.MAX)
        return bool(asked.item())

    def wait(self) -> None:
        """Waits until every process has come this far."""
        self.agree(True)
