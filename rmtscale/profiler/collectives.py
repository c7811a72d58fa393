"""Counts what a process sends, at torch's dispatcher: calls, elements and bytes by kind.

An exchange with one other process alone is a send: so keys and values travel round torch's ring.

Shape legend: none matter; of each call the larger side counts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from rmtscale.records.measurement import Sent

KINDS = {
    "_allgather_base_": "all_gather",
    "all_gather_into_tensor": "all_gather",
    "_reduce_scatter_base_": "reduce_scatter",
    "reduce_scatter_tensor": "reduce_scatter",
    "allreduce_": "all_reduce",
    "all_reduce": "all_reduce",
    "all_to_all_single": "all_to_all",
    "alltoall_base_": "all_to_all",
    "send": "send",
}
"""Operators of ``c10d`` and ``_c10d_functional``, and what they are called here."""
_IGNORED = ("wait", "_wrap", "recv", "barrier")


class CollectiveCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts calls, elements and bytes of the larger side by kind.

    An operator that has no name here counts under its own.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(one, DTensor) for one in types):
            return NotImplemented  # what DTensor makes of it comes by again
        out = func(*args, **(kwargs or {}))
        name = func._opname
        if func.namespace in ("c10d", "_c10d_functional") and not name.startswith(_IGNORED):
            sides = [one for one in tree_iter((args, out)) if isinstance(one, Tensor)]
            largest = max(sides, key=Tensor.numel)
            kind = KINDS.get(name, name)
            if kind == "all_to_all" and _partners(args) == 1:
                kind = "send"
            self.calls[kind] += 1
            self.elements[kind] += largest.numel()
            self.sent_bytes[kind] += largest.numel() * largest.element_size()
        return out

    def found(self) -> dict[str, tuple[int, int]]:
        """Returns calls and elements by kind."""
        return {kind: (self.calls[kind], self.elements[kind]) for kind in self.calls}

    def sent(self) -> tuple[Sent, ...]:
        """Returns all that was sent, as a record has it."""
        return tuple(
            Sent(
                kind=kind,
                calls=self.calls[kind],
                elements=self.elements[kind],
                sent_bytes=self.sent_bytes[kind],
            )
            for kind in sorted(self.calls)
        )


def _partners(args: Any) -> int:
    """Returns how many processes an exchange sends to; 0 where equal parts go to all."""
    sizes = [one for one in args if isinstance(one, list | tuple)]
    return sum(1 for size in sizes[-1] if size) if sizes else 0
