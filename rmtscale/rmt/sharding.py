"""An RMT whose weights are sharded by FSDP2, or cut by tensor parallelism.

FSDP2 gathers weights around a module's ``forward``, and reduces a gradient when the backward pass
of all that ran in between has come by. Around an RMT's whole call that is too late: every segment
uses every block, so that all gradients wait, unsharded, for the first segment. So the hooks of the
root go around one window of segments instead, which state by state is a single segment: its
gradients are reduced and its weights freed before the next one runs, and what memory there is does
not grow with the number of segments.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput
from rmtscale.rmt.compiling import run_plainly

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])
_UNIT = "_unit"


class Gathering(Protocol):
    """A model, or what reads with one."""

    def gathered(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Runs ``work`` with the weights of the root in place."""
        ...


def is_sharded(module: object) -> bool:
    """Whether ``fully_shard`` was called on a module; loads nothing of FSDP2 to find out."""
    return hasattr(type(module), "_get_fsdp_state")


class Gathers:
    """A model of which the weights may be sharded; plain ones are left alone."""

    _inside = False
    """Whether the weights of the root are gathered."""

    @property
    def sharded(self) -> bool:
        """Whether ``fully_shard`` was called on this model."""
        return is_sharded(self)

    def _unit(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Runs ``work``; FSDP2's hooks go around this method."""
        return work(*args, **kwargs)

    @run_plainly
    def gathered(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Runs ``work`` with the weights of the root in place; blocks gather their own.

        Tensors that a gradient comes into or goes out of have to be among arguments and results.
        """
        if not self.sharded or self._inside:
            return work(*args, **kwargs)
        if _UNIT not in vars(self):
            from torch.distributed.fsdp import register_fsdp_forward_method

            register_fsdp_forward_method(self, _UNIT)  # type: ignore[arg-type]
        self._inside = True
        try:
            return self._unit(work, *args, **kwargs)
        finally:
            self._inside = False


def gathering(method: Method) -> Method:
    """Lets a method that makes no graph run with the weights of the root in place."""

    @wraps(method)
    def run(self: Gathering, *args: Any, **kwargs: Any) -> Any:
        return self.gathered(method, self, *args, **kwargs)

    return run  # type: ignore[return-value]


@contextmanager
def freed_after_forward(model: nn.Module) -> Iterator[None]:
    """Lets every block free its weights behind its forward pass, as it does outside of a backward
    pass; in one, FSDP2 takes it for a checkpoint, whose backward pass follows at once."""
    blocks: Any = [
        module for module in model.modules() if module is not model and is_sharded(module)
    ]
    handles = [block.register_forward_hook(lambda block, *_: block.reshard()) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shard(
    model: Any, mesh: Any = None, *, parts: Sequence[nn.Module] | None = None, **options: Any
) -> Any:
    """Shards a model by FSDP2: every block, and the root with all that is in none.

    Args:
        model: an RMT; changed in place.
        mesh: a ``DeviceMesh``; by default one over all processes.
        parts: blocks, first to last, of a model that is no RMT.
        options: of ``torch.distributed.fsdp.fully_shard``, for blocks and root alike.

    Returns:
        The model.
    """
    from torch.distributed.fsdp import fully_shard

    parts = model.body.layers(model.backbone) if parts is None else parts
    blocks = [fully_shard(part, mesh=mesh, **options) for part in parts]
    for before, block in itertools.pairwise(blocks):
        # By itself FSDP2 knows no order in a backward pass that runs segments again.
        block.set_modules_to_backward_prefetch([before])
    fully_shard(model, mesh=mesh, **options)
    return model


def is_cut(tensor: Tensor) -> bool:
    """Whether a process has a part of a tensor only."""
    return hasattr(tensor, "placements")


def part_of(tensor: Tensor) -> Tensor:
    """Returns the part of a tensor that this process has: all of one that is not cut."""
    whole: Any = tensor
    own: Tensor = whole.to_local() if is_cut(tensor) else tensor
    return own


def whole_state(model: nn.Module) -> tuple[dict[str, Tensor], bool | None]:
    """Returns all weights by name, and whether this process is the one to write them.

    Of cut weights the whole is on the first process alone, on its host, and every process has to
    ask for it; where none is cut, every process may write (None).
    """
    state: dict[str, Tensor] = model.state_dict()
    if not any(is_cut(value) for value in state.values()):
        return state, None
    distributed: Any = torch.distributed
    first: bool = distributed.get_rank() == 0
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        whole: Any = value
        if is_cut(value):  # one at a time, so that no device holds them all
            whole = whole.full_tensor()
        if first:
            found[name] = whole.cpu()
    return found, first


def require_as_many(segments: int, device: torch.device) -> None:
    """Raises ``BadInput`` on every process unless all have as many segments.

    Each gathers weights for its own: one with more would wait for the others for ever.
    """
    distributed: Any = torch.distributed
    counts = torch.tensor([segments, -segments], device=device)
    distributed.all_reduce(counts, op=distributed.ReduceOp.MAX)
    most, least = int(counts[0]), -int(counts[1])
    if most != least:
        raise BadInput(
            f"{segments} segments here, {least} to {most} on all processes: expected as many on "
            "each, whose weights are sharded; pad the inputs of a step to one length"
        )


def wait_for_all() -> None:
    """Waits until every process has come this far."""
    distributed: Any = torch.distributed
    distributed.barrier()
