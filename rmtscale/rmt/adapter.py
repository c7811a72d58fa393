"""A parallel adapter beside every feed-forward block of a backbone.

Shape legend: B batch, T positions of a segment, D width, A inner width of the adapter.

``h = x + FFN(x') + scale * up(relu(down(x')))`` with x' what the feed-forward block itself reads
(He et al. 2022, "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv
2110.04366, section 4; the paper's Table 1 uses it with and without LoRA). It is attached by hooks,
so that the backbone keeps its modules and the names of its weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmtscale.rmt.body import Body


class ParallelAdapter(nn.Module):
    """Down, relu, up; ``up`` starts at zero, so that the model starts out unchanged."""

    def __init__(
        self, width: int, inner_width: int, scale: float, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner_width, dtype=dtype)
        self.up = nn.Linear(inner_width, width, dtype=dtype)
        self.scale = scale
        self._read_BTD: Tensor | None = None
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the sum to add to the feed-forward block's output, (B, T, D)."""
        added_BTD: Tensor = self.up(torch.relu(self.down(hidden_BTD))) * self.scale
        return added_BTD

    # Hooks are bound methods, because a deep copy of a model then also copies what they belong to.

    def beside(self, _module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Adds to what a block that is one module returns."""
        added_BTD: Tensor = self(args[0])
        return output + added_BTD

    def into_residual(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Adds before BERT's output module, to its second argument, the block's own input."""
        return (args[0], args[1] + self(args[1]), *args[2:])

    def read(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        """Reads the input before the first half of a block that is no module of its own (OPT)."""
        self._read_BTD = args[0]

    def add(self, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Adds after the second half of such a block."""
        read_BTD, self._read_BTD = self._read_BTD, None
        assert read_BTD is not None, "the first half of the block ran before"
        added_BTD: Tensor = self(read_BTD)
        return output + added_BTD


def attach(backbone: PreTrainedModel, body: Body, inner_width: int, scale: float) -> nn.ModuleList:
    """Makes one adapter per block, hooked into ``backbone`` and owned by the caller."""
    width = backbone.config.get_text_config(decoder=True).hidden_size
    dtype = backbone.get_input_embeddings().weight.dtype
    adapters = nn.ModuleList()
    for layer in body.blocks(backbone):
        adapter = ParallelAdapter(width, inner_width, scale, dtype)
        adapters.append(adapter)
        kind = backbone.config.model_type
        block: Any = layer
        if kind == "bert":
            block.output.register_forward_pre_hook(adapter.into_residual)
        elif kind == "opt":
            block.fc1.register_forward_pre_hook(adapter.read)
            block.fc2.register_forward_hook(adapter.add)
        else:
            block.mlp.register_forward_hook(adapter.beside)
    return adapters
