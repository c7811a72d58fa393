"""Real modules spread over a fake process group, every collective counted at the dispatcher.

No network and no GPU: one process stands for rank 0 of any world. Nothing here knows a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.testing._internal.distributed.fake_pg import FakeStore

from rmtscale.profiler.collectives import CollectiveCounter


@contextmanager
def world(ranks: int) -> Iterator[None]:
    """A fake process group of so many ranks; this process is the first."""
    dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def mesh_of(dp: int, tp: int) -> DeviceMesh:
    """Data ranks outside, tensor ranks inside."""
    return init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))


def parts(model: Any) -> tuple[Any, Any]:
    """The layers and the final norm's owner of a causal language model, or an RMT around one."""
    inner = getattr(model, "backbone", model)
    for path in ("transformer.h", "model.layers", "model.decoder.layers", "gpt_neox.layers"):
        owner, _, last = path.rpartition(".")
        found = inner
        for name in owner.split("."):
            found = getattr(found, name, None)
        if found is not None and hasattr(found, last):
            return getattr(found, last), found
    raise AssertionError(type(inner))


_COLUMN = (
    "q_proj",
    "k_proj",
    "v_proj",
    "query_key_value",
    "gate_proj",
    "up_proj",
    "fc1",
    "dense_h_to_4h",
)
_ROW = ("o_proj", "out_proj", "dense", "down_proj", "fc2", "dense_4h_to_h")
_NORMS = ("input_layernorm", "post_attention_layernorm", "self_attn_layer_norm", "final_layer_norm")


def tensor_parallel(model: Any, mesh: DeviceMesh, *, sequence: bool = False) -> None:
    """Cuts the layers as Megatron-LM does: what reads one input shares its conversion."""
    layers, owner = parts(model)
    whole, cut = Replicate(), Shard(1)
    around = cut if sequence else whole
    for number, layer in enumerate(layers):
        plan: dict[str, Any] = {}
        for name, module in layer.named_modules():
            last = name.rpartition(".")[2]
            if isinstance(module, torch.nn.Linear) and last in _COLUMN:
                # Alone in front of its input (OPT's fc1): it converts it itself.
                plan[name] = ColwiseParallel(input_layouts=around if last == "fc1" else whole)
            elif isinstance(module, torch.nn.Linear) and last in _ROW:
                plan[name] = RowwiseParallel(output_layouts=around)
            elif sequence and last in _NORMS:
                plan[name] = SequenceParallel()
        for name in ("self_attn", "attention"):
            if hasattr(layer, name):
                plan[name] = _hidden(around)
        if hasattr(layer, "mlp"):
            plan["mlp"] = PrepareModuleInput(
                input_layouts=(around,), desired_input_layouts=(whole,)
            )
        parallelize_module(layer, mesh, plan)
        if sequence and number == 0:
            parallelize_module(
                layer,
                mesh,
                PrepareModuleInput(
                    input_layouts=(whole,), desired_input_layouts=(cut,), use_local_output=True
                ),
            )
    if sequence:
        norm = next(n for n in ("norm", "final_layer_norm") if hasattr(owner, n))
        parallelize_module(owner, mesh, {norm: SequenceParallel(use_local_output=False)})
        parallelize_module(
            getattr(owner, norm),
            mesh,
            PrepareModuleOutput(output_layouts=(cut,), desired_output_layouts=(whole,)),
        )


def _hidden(around: Any) -> PrepareModuleInput:
    return PrepareModuleInput(
        input_kwarg_layouts={"hidden_states": around},
        desired_input_kwarg_layouts={"hidden_states": Replicate()},
    )


class SegmentStep(torch.nn.Module):
    """One segment of an RMT as a plain forward, so that FSDP2's hooks fire."""

    def __init__(self, rmt: Any) -> None:
        super().__init__()
        self.rmt = rmt

    def forward(self, state: Any, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.rmt.memory(self.rmt.embedding_VE, ids.shape[0])
        new, text = self.rmt.step(state, ids)
        logits = self.rmt.get_output_embeddings()(text).flatten(0, 1).float()
        loss = F.cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum")
        return new.clone(), loss


class OneGraph(SegmentStep):
    """All segments of an RMT in one graph, as a plain forward: FSDP2 as it is, without what
    ``rmtscale.rmt`` does about it."""

    def forward(self, ids: Tensor, length: int) -> Tensor:  # type: ignore[override]
        state: Any = None
        losses = []
        for piece in pieces_of(ids, length):
            state, loss = super().forward(state, *piece)
            losses.append(loss)
        return torch.stack(losses).sum()


def pieces_of(ids: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """The segments, and what each of their tokens predicts."""
    targets = F.pad(ids[:, 1:], (0, 1), value=-100)
    return [
        (ids[:, start : start + length], targets[:, start : start + length])
        for start in range(0, ids.shape[1], length)
    ]


def shard(model: Any, mesh: DeviceMesh) -> Any:
    """FSDP2: a group a layer, and one for all that is left."""
    for layer in parts(getattr(model, "rmt", model))[0]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def state_by_state(
    step: SegmentStep, ids: Tensor, length: int, after: Callable[[], None] = lambda: None
) -> None:
    """Full BPTT with one segment's graph at a time: all forward, then the last one first."""
    pieces = pieces_of(ids, length)
    states: list[Any] = [None]
    with torch.no_grad():
        for piece in pieces[:-1]:
            states.append(step(states[-1], *piece)[0])
            after()
    gradient = None
    for piece, entering in zip(reversed(pieces), reversed(states), strict=True):
        state = None if entering is None else entering.detach().requires_grad_()
        new, loss = step(state, *piece)
        outs, gradients = [loss], [None]
        if gradient is not None:
            outs.append(new)
            gradients.append(gradient)
        torch.autograd.backward(outs, gradients)
        gradient = None if state is None else state.grad
        after()


def make_whole(model: Any) -> None:
    """Sums the gradients that sequence parallelism left as parts, as an optimizer step would."""
    for parameter in model.parameters():
        gradient = parameter.grad
        if isinstance(gradient, DTensor) and any(one.is_partial() for one in gradient.placements):
            parameter.grad = gradient.redistribute(placements=parameter.placements)


def count(run: Callable[[], Any]) -> CollectiveCounter:
    """Runs it and returns what was sent."""
    counter = CollectiveCounter()
    with counter:
        run()
    return counter
