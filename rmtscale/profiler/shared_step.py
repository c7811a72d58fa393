"""A model whose step is shared by several processes: cut by a layout, in place.

Shape legend: none matter; weights are cut as they come.

``dp`` alone is DDP, ``zero3`` FSDP2, ``tp`` tensor parallelism of the blocks, and ``tp`` inside of
``dp`` both on one mesh. What is in no block stays whole under ``tp``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from rmtscale.errors import BadInput
from rmtscale.profiler.ranks import Ranks
from rmtscale.rmt.backbones import body_of
from rmtscale.rmt.sharding import shard
from rmtscale.rmt.tensor_parallel import cut_blocks
from rmtscale.specs.layout import Layout


def share(model: Any, layout: Layout, device: str, ranks: Ranks) -> nn.Module:
    """Cuts ``model`` as the layout says; returns what is to be called.

    Args:
        model: a causal language model, or an RMT around one.
        layout: of as many processes as there are.
        device: ``cuda`` or ``cpu``.
        ranks: the processes.

    Raises:
        BadInput: another number of processes, or a block that cannot be cut.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.nn.parallel import DistributedDataParallel

    if layout.gpus != ranks.place.size:
        raise BadInput(f"layout {layout.name!r}: expected {ranks.place.size} processes")
    mesh = init_device_mesh(device, (layout.dp, layout.tp), mesh_dim_names=("dp", "tp"))
    if layout.tp > 1:
        cut_blocks(_blocks(model), mesh["tp"])
    if layout.zero == 3 and layout.dp > 1:
        shard(model, mesh["dp"], parts=_blocks(model))
    elif layout.dp > 1:
        if layout.tp > 1:
            raise BadInput(f"layout {layout.name!r}: expected zero3 where tp is inside dp")
        return DistributedDataParallel(
            model,
            process_group=mesh["dp"].get_group(),
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    whole: nn.Module = model
    return whole


def _blocks(model: Any) -> list[nn.Module]:
    if hasattr(model, "body"):
        found: list[nn.Module] = model.body.layers(model.backbone)
        return found
    return body_of(model, 1, causal=True, check=False).layers(model)
