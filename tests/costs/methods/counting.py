"""What the tests of methods share: one small layer, FLOPs counted, and FLOPs predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.costs.methods.method import Method
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from tests.meta_shapes import RememberedShapes

WIDTH, HEADS = 64, 4


def backbone(kind: str = "opt", **changes: Any) -> ModelSpec:
    """One small layer; without biases unless asked for."""
    base = {
        "layers": 1,
        "width": WIDTH,
        "heads": HEADS,
        "kv_heads": HEADS,
        "head_width": WIDTH // HEADS,
        "mlp_width": 4 * WIDTH,
        "embedding_width": WIDTH,
        "vocabulary": 101,
        "qkv_bias": False,
        "output_bias": False,
    }
    name = {"opt": "opt-125m", "bert": "bert-base-cased", "llama": "llama-3.2-1b"}[kind]
    return replace(PRESETS[name], **{**base, **changes})


def counted(run: Any) -> dict[str, int]:
    """FLOPs by aten operator of what ``run`` does."""
    with RememberedShapes(), FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return {
        str(operator).removeprefix("aten."): int(flops)
        for operator, flops in counter.get_flop_counts()["Global"].items()
    }


def predicted(method: Method, model: ModelSpec, tokens: int) -> dict[str, int]:
    """The same of the method's mixing; what no counter sees is left out."""
    found: dict[str, int] = {}
    for product in method.mixing(model, tokens):
        if product.operator and product.flops:
            found[product.operator] = found.get(product.operator, 0) + product.flops
    return found
