"""The train state in one file, written whole: a training may be killed at any moment.

Weights, EMA weights and the optimizer's moments are safetensors (no pickle); step and stage stand
in the header of the same file, so that there is never a state of two different steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rmtscale.errors import BadInput
from rmtscale.files import whole_file
from rmtscale.readers import load_json, read_json, require_file
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.study.records.old_names import FIELDS, renamed
from rmtscale.study.training.curriculum import Progress

STATE_VERSION = 3
_READ_VERSIONS = (2, STATE_VERSION)
"""Version 2 has other names for the same things."""
_HEADER = "train_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """Holds everything of a train state that is not a tensor."""

    state_version: int = STATE_VERSION
    step: int
    """Steps done."""
    progress: Progress
    data: str = ""
    """Digest of the training data, where there is one: a training goes on with the same data."""
    seconds: float
    """Time spent in steps, over all runs."""
    tokens: int = 0
    """Text tokens read."""
    flops: int = 0
    """FLOPs spent, by the estimator."""
    best_stage: int = -1
    """Stage of the checkpoint in ``best``; -1 where there is none yet."""
    best_score: float | None = None
    """Score of its validation, higher is better."""


def save_train_state(
    path: Path, model: nn.Module, ema: nn.Module, optimizer: Any, state: TrainState
) -> None:
    """Writes everything that a training needs to go on.

    Raises:
        BadInput: it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("model", model), ("ema", ema)):
        tensors |= {f"{prefix}.{name}": x for name, x in module.named_parameters()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": x for name, x in values.items()}
    plain = {name: x.detach().contiguous().cpu() for name, x in tensors.items()}
    try:
        with whole_file(path) as part:
            save_file(plain, part, {_HEADER: json.dumps(to_mapping(state))})
    except SafetensorError as error:
        raise BadInput(f"output {str(path)!r}: cannot be written ({error})") from error


@torch.no_grad()
def load_train_state(path: Path, model: nn.Module, ema: nn.Module, optimizer: Any) -> TrainState:
    """Restores what ``save_train_state`` wrote, in this release or an earlier one.

    Raises:
        BadInput: not such a file, damaged, of another version, or of another model.
    """
    state = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {named_today(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"state {str(path)!r}: {error}; expected one of this release") from error
    for prefix, module in (("model", model), ("ema", ema)):
        for name, parameter in module.named_parameters():
            tensor = tensors.get(f"{prefix}.{name}")
            if tensor is None or tensor.shape != parameter.shape:
                raise BadInput(
                    f"state {str(path)!r}: {prefix}.{name} is missing or of another shape; "
                    "expected the state of the same model"
                )
            if not bool(tensor.isfinite().all()):
                raise BadInput(f"state {str(path)!r}: {prefix}.{name} has numbers that are none")
            parameter.copy_(tensor)
    moments = _moments(path, tensors, optimizer)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state


def read_header(path: Path) -> TrainState:
    """Reads everything of a state that is not a tensor.

    Args:
        path: of a file of ``save_train_state``, or of JSON.

    Raises:
        BadInput: not such a file, damaged, or of another version.
    """
    require_file(path, f"state {str(path)!r}")
    try:
        if path.suffix == ".json":
            found = read_json(path, f"state {str(path)!r}")
        else:
            with safe_open(path, framework="pt") as file:
                found = load_json(renamed(file.metadata() or {}).get(_HEADER, "{}"))
        state = from_mapping(TrainState, renamed(found), measured=True)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"state {str(path)!r}: {error}; expected one of this release") from error
    if state.state_version not in _READ_VERSIONS:
        raise BadInput(
            f"state {str(path)!r} of version {state.state_version}: expected {STATE_VERSION}"
        )
    return state


def _moments(
    path: Path, tensors: dict[str, Tensor], optimizer: Any
) -> dict[int, dict[str, Tensor]]:
    """Returns the optimizer's moments by the place of their parameter, each of its shape.

    Raises:
        BadInput: of another parameter, of another shape, or not all of them.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = [*name.split("."), "", ""][:3]
        place = int(index) if index.isdecimal() and len(index) < 10 else len(weights)
        shape = torch.Size() if key == "step" else None
        if place < len(weights) and shape is None:
            shape = weights[place].shape
        if place >= len(weights) or tensor.shape != shape:
            raise BadInput(
                f"state {str(path)!r}: {name} {tuple(tensor.shape)}, expected the moments of the "
                f"same {len(weights)} parameters"
            )
        moments.setdefault(place, {})[key] = tensor
    names = {frozenset(each) for each in moments.values()}
    if len(names) > 1:
        raise BadInput(f"state {str(path)!r}: expected the same moments of every parameter")
    return moments


def named_today(name: str) -> str:
    """Gives a tensor of an older state the name that it has today."""
    module, _, weight = name.partition(".")
    return f"{FIELDS.get(module, module)}.{weight}"
