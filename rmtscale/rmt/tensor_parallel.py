"""Tensor parallelism of a decoder's blocks, as Megatron-LM cuts them (Shoeybi et al. 2019).

Matrices that read a block's input are cut by their outputs, those that write it by their inputs.
What reads one input shares its conversion, so that a block sums twice forward and twice backward,
where a plan that converts each matrix's input apart sums more often. Embeddings, norms and head
stay whole on every process.

Shape legend: none matter; a plan names modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from rmtscale.errors import BadInput

_READ = (
    *("q_proj", "k_proj", "v_proj", "query_key_value"),
    *("gate_proj", "up_proj", "fc1", "dense_h_to_4h"),
)
"""Last names of matrices that read a block's input."""
_WRITE = ("o_proj", "out_proj", "dense", "down_proj", "fc2", "dense_4h_to_h")
_ATTENTION = ("self_attn", "attention")


def cut_blocks(blocks: Iterable[nn.Module], mesh: Any) -> None:
    """Cuts every block over a one-dimensional ``DeviceMesh``, in place.

    Raises:
        BadInput: a block with a matrix that has no place in the plan.
    """
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        RowwiseParallel,
        parallelize_module,
    )

    whole = Replicate()
    for block in blocks:
        plan: dict[str, Any] = {}
        for name, module in block.named_modules():
            last = name.rpartition(".")[2]
            if isinstance(module, nn.Linear) and last in _READ:
                plan[name] = ColwiseParallel(input_layouts=whole)
            elif isinstance(module, nn.Linear) and last in _WRITE:
                plan[name] = RowwiseParallel(output_layouts=whole)
            elif any(weight.ndim > 1 for weight in module.parameters(recurse=False)):
                raise BadInput(
                    f"tp {mesh.size()}: expected 1, {name} of {type(block).__name__} is no matrix "
                    "that tensor parallelism cuts here"
                )
        for name in _ATTENTION:
            if hasattr(block, name):
                plan[name] = PrepareModuleInput(
                    input_kwarg_layouts={"hidden_states": whole},
                    desired_input_kwarg_layouts={"hidden_states": whole},
                )
        if hasattr(block, "mlp"):
            plan["mlp"] = PrepareModuleInput(input_layouts=(whole,), desired_input_layouts=(whole,))
        parallelize_module(block, mesh, plan)
