"""The train state of cut weights: each process writes its parts, any number of them reads on.

Through torch's distributed checkpoints, in safetensors (no pickle): which part of a tensor a file
has stands in its header, so that another layout, whole weights too, takes from every file what it
needs. Step and stage stand in a file of JSON beside.
"""

from __future__ import annotations

import json
import math
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from rmtscale.errors import BadInput
from rmtscale.files import replaced_folder
from rmtscale.records.mapping import to_mapping
from rmtscale.rmt.sharding import is_cut, part_of
from rmtscale.study.training.cutting import TrainedWeights, reshard
from rmtscale.study.training.layout import CUT_STATE, STATE
from rmtscale.study.training.share import Share
from rmtscale.study.training.train_state import TrainState, named_today, read_header

HEADER = "train_state.json"


def stored_state(folder: Path) -> Path | None:
    """Returns where the state of a training is: of two, which a kill may leave, the later one.

    Raises:
        BadInput: one of two is no state.
    """
    found = [folder / name for name in (STATE, CUT_STATE) if (folder / name).exists()]
    if len(found) < 2:
        return found[0] if found else None
    whole, cut = found
    return cut if read_header(cut / HEADER).step > read_header(whole).step else whole


class _Everything:
    """Holds any name: of an older state no file stays."""

    def __contains__(self, name: object) -> bool:
        return True


def save_cut_state(
    folder: Path,
    model: nn.Module,
    ema: nn.Module,
    trained: TrainedWeights,
    optimizer: Any,
    state: TrainState,
    share: Share,
) -> None:
    """Writes everything that a training needs to go on; every process has to ask for it.

    Args:
        folder: of the state; replaced when all processes have written their parts.
        model, ema: weights that are cut alike.
        trained: what the optimizer steps on.
        optimizer: has stepped.
        state: all else.
        share: of this process.

    Raises:
        BadInput: it cannot be written.
    """
    tensors = _weights(model, ema)
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            # A number is a tensor of one here: a slice of a scalar cannot be read.
            whole = value.reshape(1) if value.ndim == 0 else _as_of(trained.weights[index], value)
            tensors[f"optimizer.{index}.{name}"] = whole
    distributed: Any = torch.distributed
    with ExitStack() as held:
        place = [""]
        if share.writes:
            place = [str(held.enter_context(replaced_folder(folder, _Everything())))]
        distributed.broadcast_object_list(place, 0)
        try:
            save(
                tensors,
                storage_writer=HuggingFaceStorageWriter(place[0], save_distributed=True),
            )
        except (CheckpointException, SafetensorError, OSError) as error:
            raise BadInput(f"output {str(folder)!r}: cannot be written ({error})") from error
        if share.writes:
            text = json.dumps(to_mapping(state)) + "\n"
            (Path(place[0]) / HEADER).write_text(text, encoding="utf-8")


@torch.no_grad()
def load_parts(
    source: Path, model: nn.Module, ema: nn.Module, trained: TrainedWeights, optimizer: Any
) -> TrainState:
    """Restores a state in the layout of today, whatever layout wrote it.

    Args:
        source: what ``save_cut_state`` or ``save_train_state`` wrote.
        model, ema: get their weights, or this process's parts of them.
        trained: what the optimizer steps on.
        optimizer: gets its moments.

    Raises:
        BadInput: not such a state, damaged, of another version, or of another model.
    """
    named = f"state {str(source)!r}"
    folder = source if source.is_dir() else source.parent
    state = read_header(source / HEADER if source.is_dir() else source)
    found = _stored(named, folder)
    tensors = _weights(model, ema)
    for today, tensor in tensors.items():
        if today not in found or found[today][1] != tuple(tensor.shape):
            raise BadInput(
                f"{named}: {today} is missing or of another shape; expected the state of the same "
                "model"
            )
    moments: dict[int, dict[str, Tensor]] = {}
    for today, (_, size) in found.items():
        if today.startswith("optimizer."):
            index, key, part, whole = _moment(named, today, size, trained)
            moments.setdefault(index, {})[key] = part
            tensors[today] = whole
    if {*tensors} != {*found}:
        raise BadInput(f"{named}: it has more tensors than the state of this model")
    if len({frozenset(each) for each in moments.values()}) > 1:
        raise BadInput(f"{named}: expected the same moments of every parameter")
    _fill(named, folder, {found[today][0]: tensor for today, tensor in tensors.items()})
    for each in moments.values():
        each |= {key: value.reshape(()) for key, value in each.items() if key == "step"}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state


def _stored(named: str, folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Finds what a folder holds: by the names of today, the names there and the shapes."""
    try:
        stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise BadInput(f"{named}: {error}; expected one of this release") from error
    found = {}
    for name, one in stored.items():
        entry: Any = one
        if sum(math.prod(chunk.sizes) for chunk in entry.chunks) != math.prod(entry.size):
            raise BadInput(f"{named}: {name} is not whole, expected the files of all processes")
        found[named_today(name)] = name, tuple(entry.size)
    return found


def _fill(named: str, folder: Path, tensors: dict[str, Tensor]) -> None:
    """Reads tensors, or this process's parts of them, by the names that they have there."""
    alone = not torch.distributed.is_initialized()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load(
                dict(tensors),
                storage_reader=HuggingFaceStorageReader(str(folder)),
                no_dist=alone,
            )
    except (CheckpointException, SafetensorError, OSError) as error:
        raise BadInput(f"{named}: {error}; expected one of this release") from error
    for name, tensor in tensors.items():
        if not bool(part_of(tensor).isfinite().all()):
            raise BadInput(f"{named}: {name} has numbers that are none")


def _weights(model: nn.Module, ema: nn.Module) -> dict[str, Tensor]:
    """All weights by the names of a state, whole or cut."""
    found: dict[str, Tensor] = {}
    for prefix, module in (("model", model), ("ema", ema)):
        reshard(module)
        found |= {f"{prefix}.{name}": x.detach() for name, x in module.named_parameters()}
    return found


def _as_of(weight: Tensor, part: Tensor) -> Tensor:
    """Returns a part as that of a whole, which is cut as ``weight`` is."""
    if not is_cut(weight):
        return part
    from torch.distributed.tensor import DTensor

    cut: Any = weight
    whole: Tensor = DTensor.from_local(
        part,
        cut.device_mesh,
        cut.placements,
        run_check=False,
        shape=cut.shape,
        stride=cut.stride(),
    )
    return whole


def _moment(
    named: str, name: str, size: tuple[int, ...], trained: TrainedWeights
) -> tuple[int, str, Tensor, Tensor]:
    """Place and name of a moment, an empty part for it, and the whole that it is a part of."""
    _, index, key = [*name.split("."), "", ""][:3]
    place = int(index) if index.isdecimal() and len(index) < 10 else len(trained.weights)
    if place < len(trained.weights):
        weight, part = trained.weights[place], trained.parts[place]
        if key == "step" and math.prod(size) == 1:
            empty = torch.zeros(size)
            return place, key, empty, empty
        if key != "step" and size == tuple(weight.shape):
            empty = torch.zeros_like(part).detach()
            return place, key, empty, _as_of(weight, empty)
    raise BadInput(
        f"{named}: {name} {size}, expected the moments of the same {len(trained.weights)} "
        "parameters"
    )
