"""A model whose step is shared by several processes: cut by a layout, in place.

Shape legend: none matter; weights are cut as they come.

``dp`` alone is DDP, ``zero3`` FSDP2, ``tp`` tensor parallelism of the blocks, and ``tp`` inside of
``dp`` both on one mesh. What is in no block stays whole under ``tp``. Ranks of ``cp`` hold the same
weights, whose gradients are summed with those of ``dp``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from rmtscale.errors import BadInput
from rmtscale.profiler.ranks import Ranks
from rmtscale.profiler.shared_context import SharedContext
from rmtscale.rmt.backbones import body_of
from rmtscale.rmt.sharding import shard
from rmtscale.rmt.tensor_parallel import cut_blocks
from rmtscale.specs.layout import Layout


class Shared(NamedTuple):
    """A model that several processes share."""

    model: nn.Module
    """The module to be called."""
    context: SharedContext | None
    """How sequences are cut; None: each process reads whole ones."""


def share(model: Any, layout: Layout, device: str, ranks: Ranks, tokens: int) -> Shared:
    """Cuts ``model`` as the layout says.

    Args:
        model: a causal language model, or an RMT around one.
        layout: of as many processes as there are.
        device: ``cuda`` or ``cpu``.
        ranks: the processes.
        tokens: of a whole sequence.

    Raises:
        BadInput: another number of processes, or a block that cannot be cut.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.nn.parallel import DistributedDataParallel

    if layout.gpus != ranks.place.size:
        raise BadInput(f"layout {layout.name!r}: expected {ranks.place.size} processes")
    mesh = init_device_mesh(
        device, (layout.dp, layout.cp, layout.tp), mesh_dim_names=("dp", "cp", "tp")
    )
    context = None
    if layout.cp > 1:
        context = SharedContext(model, mesh["cp"], layout, tokens, device)
    if layout.tp > 1:
        cut_blocks(_blocks(model), mesh["tp"])
    if layout.shards == 1:
        return Shared(model, context)
    same = mesh["cp"] if layout.dp == 1 else mesh["dp"]
    if min(layout.dp, layout.cp) > 1:
        same = mesh["dp", "cp"]._flatten("dp_cp")
    if layout.zero == 3:
        shard(model, same, parts=_blocks(model))
        return Shared(model, context)
    if layout.tp > 1:
        raise BadInput(f"layout {layout.name!r}: expected zero3 where tp is inside dp")
    replicated = DistributedDataParallel(
        model,
        process_group=same.get_group(),
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )
    return Shared(replicated, context)


def _blocks(model: Any) -> list[nn.Module]:
    if hasattr(model, "body"):
        found: list[nn.Module] = model.body.layers(model.backbone)
        return found
    return body_of(model, 1, causal=True, check=False).layers(model)
