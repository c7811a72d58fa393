"""The state of a training in one file, written whole: a training may be killed at any moment.

Weights, averaged weights and the optimizer's moments as safetensors (no pickle), with step and
stage in the header of the same file, so that there is never a state of two different steps.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rmtscale.errors import BadInput
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.study.training.curriculum import Progress

STATE_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What of a state is not a tensor."""

    state_version: int = STATE_VERSION
    step: int
    """Steps done."""
    progress: Progress
    data: str = ""
    """Digest of what it is trained on, where there is one: it goes on with the same."""
    seconds: float
    """Spent in steps, over all runs."""
    tokens: int = 0
    """Text tokens read."""
    flops: int = 0
    """Spent, by the estimator."""
    best_stage: int = -1
    """Of the checkpoint in ``best``; -1 where there is none yet."""
    best_score: float | None = None
    """Its validation, higher is better."""


def save_state(
    path: Path, model: nn.Module, averaged: nn.Module, optimizer: Any, facts: Facts
) -> None:
    """Writes everything a training needs to go on."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("model", model), ("averaged", averaged)):
        tensors |= {f"{prefix}.{name}": x for name, x in module.named_parameters()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": x for name, x in values.items()}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        plain = {name: x.detach().contiguous().cpu() for name, x in tensors.items()}
        save_file(plain, part, {"facts": json.dumps(to_mapping(facts))})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"output {str(path)!r}: cannot be written ({reason})") from error
    finally:
        part.unlink(missing_ok=True)


@torch.no_grad()
def load_state(path: Path, model: nn.Module, averaged: nn.Module, optimizer: Any) -> Facts:
    """Puts back what ``save_state`` wrote.

    Raises:
        BadInput: not such a file, damaged, of another version, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            facts = from_mapping(Facts, json.loads((opened.metadata() or {}).get("facts", "{}")))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, Misfit) as error:
        raise BadInput(f"state {str(path)!r}: {error}; expected one of this release") from error
    if facts.state_version != STATE_VERSION:
        raise BadInput(
            f"state {str(path)!r} of version {facts.state_version}: expected {STATE_VERSION}"
        )
    for prefix, module in (("model", model), ("averaged", averaged)):
        for name, parameter in module.named_parameters():
            kept = tensors.get(f"{prefix}.{name}")
            if kept is None or kept.shape != parameter.shape:
                raise BadInput(
                    f"state {str(path)!r}: {prefix}.{name} is missing or of another shape; "
                    "expected the state of the same model"
                )
            parameter.copy_(kept)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
    return facts
