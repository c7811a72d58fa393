"""The weights of a training, whole on every process or cut: sharded by FSDP2, tensor parallelism.

Shape legend: none matter; weights are cut as they come.

Optimizer, EMA and clipping work on the part of each weight that a process has: they are
elementwise, but for one norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.errors import BadInput
from rmtscale.rmt.sharding import is_cut, is_sharded, part_of, shard
from rmtscale.rmt.tensor_parallel import cut_blocks
from rmtscale.specs.layout import Layout
from rmtscale.study.training.segment_reader import SegmentReader
from rmtscale.study.training.share import Share
from rmtscale.units import require_one_of

SHARDS = ("ddp", "fsdp2")
"""Ways of processes with rows of their own: weights are whole on each, or sharded."""
_SHARED_OUT = ("num_attention_heads", "num_key_value_heads")
"""Numbers of a backbone's config that tensor parallelism divides."""


def training_layout(processes: int, shard: str = "ddp", tp: int = 1) -> Layout:
    """Returns the layout of a training.

    Args:
        processes: how many there are.
        shard: ``ddp`` or ``fsdp2``. One process has nothing to shard.
        tp: processes that share each matrix.

    Raises:
        BadInput: processes that ``tp`` does not divide, or ``tp`` inside of ``ddp``.
    """
    require_one_of("shard", shard, SHARDS)
    if tp < 1 or processes % tp:
        raise BadInput(
            f"tp {tp}: expected a divisor of {processes}, the processes that torchrun starts "
            "(--nproc_per_node)"
        )
    dp = processes // tp
    if dp > 1 and tp > 1 and shard != "fsdp2":
        raise BadInput(f"shard {shard!r}: expected fsdp2 with tp {tp} on {processes} processes")
    sharded = shard == "fsdp2" and dp > 1
    return Layout(
        tp=tp,
        dp=dp,
        zero=3 if sharded else 0,
        state_by_state=sharded,
        shard_vocabulary=tp == 1,
    )


class Cutter:
    """Cuts the models of a training by one layout, or leaves them whole.

    Args:
        layout: of as many processes as there are.
        device: ``cpu``, or the GPU of this process.
        rank: of this process.
    """

    def __init__(self, layout: Layout, device: torch.device, rank: int) -> None:
        self.layout, self.device = layout, device
        self.cuts = layout.zero == 3 or layout.tp > 1
        self.share = Share(
            rank // layout.tp, layout.dp, rank % layout.tp, layout.tp, together=self.cuts
        )
        self._mesh: Any = None

    def cut(self, reader: SegmentReader) -> None:
        """Cuts a model, on the host so far, and puts what is left on the device.

        Raises:
            BadInput: a block that tensor parallelism cannot cut, or weights that are not the RMT's.
        """
        from torch.distributed.device_mesh import init_device_mesh

        reader.require_cuttable()
        layout, rmt = self.layout, reader.rmt
        if self._mesh is None:
            sizes = (layout.dp, layout.tp)
            self._mesh = init_device_mesh(self.device.type, sizes, mesh_dim_names=("dp", "tp"))
        if layout.tp > 1:
            _require_divisible(rmt.config.backbone_config, layout.tp)
            cut_blocks(rmt.body.layers(rmt.backbone), self._mesh["tp"])
        if layout.zero == 3:
            shard(rmt, self._mesh["dp"])
        reader.cut = True
        for module in reader.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = buffer.to(self.device)
        for parameter in reader.parameters():
            if not is_cut(parameter):
                parameter.data = parameter.data.to(self.device)


def _require_divisible(config: Any, tp: int) -> None:
    for name in _SHARED_OUT:
        heads = getattr(config, name, None)
        if isinstance(heads, int) and heads % tp:
            raise BadInput(f"tp {tp}: expected a divisor of {heads}, {name} of the backbone")


def own_parts(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Returns what this process has of each weight: the weight itself where it is whole.

    A part shares its memory with the weight, wherever FSDP2 has put whole ones meanwhile.
    """
    return [part_of(weight.detach()) if is_cut(weight) else weight for weight in parameters]


def reshard(model: nn.Module) -> None:
    """Frees whole weights that a pass without gradients has left in the place of cut ones."""
    for module in model.modules():
        if is_sharded(module):
            found: Any = module
            found.reshard()


class TrainedWeights:
    """The weights that a training moves, and their gradients.

    Args:
        model: where it stays, and cut if it is to be.
        share: of this process.
    """

    def __init__(self, model: nn.Module, share: Share) -> None:
        self._share = share
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.parts: list[nn.Parameter] = [
            nn.Parameter(part) if is_cut(weight) else weight
            for weight, part in zip(self.weights, own_parts(self.weights), strict=True)
        ]
        """The tensors that an optimizer steps on."""
        self.cut = any(is_cut(weight) for weight in self.weights)
        self._counted = [_counts(weight, share) for weight in self.weights]

    def take_gradients(self) -> None:
        """Hands every part its gradient, zeros where none came."""
        for weight, part in zip(self.weights, self.parts, strict=True):
            part.grad = torch.zeros_like(part) if weight.grad is None else part_of(weight.grad)

    def clip(self, most: float) -> None:
        """Scales all gradients down to a norm of ``most`` over all processes."""
        if not self.cut:
            torch.nn.utils.clip_grad_norm_(self.parts, most)
            return
        grads = [part.grad for part in self.parts]
        counted = [grad for grad, once in zip(grads, self._counted, strict=True) if once]
        norm = torch.nn.utils.get_total_norm([grad for grad in counted if grad is not None])
        square = norm.to(self.parts[0].device) ** 2
        self._share.add_up(square)
        torch.nn.utils.clip_grads_with_norm_(self.parts, most, square.sqrt())


def _counts(weight: Tensor, share: Share) -> bool:
    """Whether this is the process whose part of a weight is counted, of all that have the same."""
    found: Any = weight
    sharded: set[str] = set()
    if is_cut(weight):
        names: Sequence[str] = found.device_mesh.mesh_dim_names
        kinds = zip(names, found.placements, strict=True)
        sharded = {name for name, placement in kinds if not placement.is_replicate()}
    places = {"dp": share.rank, "tp": share.copy}
    return all(place == 0 for name, place in places.items() if name not in sharded)
