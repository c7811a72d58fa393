"""Writes and reads a checkpoint: ``config.json`` and safetensors, the backbone with them.

The model is built from its configuration and takes over the tensors of the file one by one, with
the dtypes they were saved in. Transformers' own loader is not used: it ties parameters by the
configuration, casts all of them to one dtype, and makes buffers anew that it knows nothing of.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from rmtscale.errors import BadInput, MissingDependency, reason_of
from rmtscale.limits import MOST_ROWS, most_of
from rmtscale.readers import read_config, read_json
from rmtscale.rmt.config import OPTIONS, RMTConfig
from rmtscale.rmt.description import require_describable, share, shared_groups, without_adapters
from rmtscale.rmt.peft_layers import adapters_of, set_switches, switches_of
from rmtscale.rmt.sharding import wait_for_all, whole_state

_INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"
_SIZE = re.compile("size|dim|layer|head|embd|inner|position|ctx|width|expert|tokens|rank|labels")
"""Names of what tensors are made as large as."""
_IGNORED = frozenset(
    {
        "use_safetensors",
        "low_cpu_mem_usage",
        "trust_remote_code",
        "local_files_only",
        "force_download",
        "cache_dir",
        "token",
        "revision",
        "subfolder",
        "weights_only",
        "adapter_kwargs",
    }
)
"""Arguments of Transformers' loader that change nothing here: a folder is read, never the hub."""
_Fill = Callable[[nn.Module], None]
_LOADED: ContextVar[_Fill | None] = ContextVar("loaded", default=None)


def loaded_weights() -> _Fill | None:
    """Returns what puts saved weights into a backbone without adapters, while one is loaded."""
    return _LOADED.get()


@contextmanager
def _loading(files: list[Path]) -> Iterator[None]:
    token = _LOADED.set(partial(_fill_backbone, files))
    try:
        yield
    finally:
        _LOADED.reset(token)


def describe(model: Any) -> None:
    """Writes into ``model.config`` what the live model is.

    Raises:
        BadInput: the backbone cannot be built from what its configuration and adapters say.
    """
    config = model.config
    config.peft = adapters_of(model)
    config.backbone_peft = adapters_of(model.backbone)
    if config.peft is None:
        require_describable(model._auto, model.backbone)
    config.peft_switches = switches_of(model)
    config.shared_weights = shared_groups(model)


def save(
    model: Any,
    write: Callable[..., None],
    folder: str | os.PathLike[str],
    **kwargs: Any,
) -> None:
    """See ``RMTPreTrainedModel.save_pretrained``; ``write`` is Transformers' own."""
    if not kwargs.pop("safe_serialization", True):
        raise BadInput("safe_serialization False: expected True, weights are safetensors only")
    describe(model)
    state, writes = kwargs.pop("state_dict", None), None
    if state is None:
        state, writes = whole_state(model)
    if writes is not None:
        kwargs["is_main_process"] = kwargs.get("is_main_process", True) and writes
    # On every process: Transformers waits for all of them behind tensor parallelism.
    _write(model, write, folder, dict(state), kwargs)
    if writes is not None:
        wait_for_all()


def _write(
    model: Any,
    write: Callable[..., None],
    folder: str | os.PathLike[str],
    state: dict[str, torch.Tensor],
    kwargs: dict[str, Any],
) -> None:
    for names in model.config.shared_weights:
        for name in names[1:]:
            if names[0] in state:
                state.pop(name, None)
    write(folder, state_dict=state, save_original_format=False, **kwargs)
    generation = getattr(model.backbone, "generation_config", None)
    if generation is not None and kwargs.get("is_main_process", True):
        generation.save_pretrained(folder)


def load(cls: Any, folder: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
    """See ``RMTPreTrainedModel.from_pretrained``."""
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise BadInput(f"checkpoint {str(folder)!r}: expected a folder with config.json")
    if args:
        raise BadInput(f"{len(args)} more positional arguments: expected none behind the folder")
    values = _config_values(path)
    files = _weight_files(path)
    wants_info = kwargs.pop("output_loading_info", False)
    dtype = kwargs.pop("dtype", kwargs.pop("torch_dtype", None))
    device = _device(kwargs.pop("device_map", None))
    named = f"checkpoint {str(folder)!r}"
    with _one_message(named):
        config = _config(path, values, kwargs)
        model: nn.Module
        # Where there are no adapters, nothing looks at the weights before all of them are loaded.
        with _loading(files if config.backbone_peft or config.peft else []):
            model = cls(config)
        if config.shared_weights is not None:
            share(model, config.shared_weights)
        _fill(model, files, _dtype(dtype), named, cls.__name__)
        set_switches(model, config.peft_switches)
        backbone: Any = model.backbone
        generation = path / "generation_config.json"
        if generation.exists() and hasattr(backbone, "generation_config"):
            read_config(generation, f"{named}: {generation.name}")
            backbone.generation_config = type(backbone.generation_config).from_pretrained(path)
    model.to(device)
    model.eval()
    info: dict[str, Any] = {
        name: set() for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    return (model, {**info, "error_msgs": []}) if wants_info else model


@contextmanager
def _one_message(named: str) -> Iterator[None]:
    """Says in one line why a model cannot be built from what its files say.

    The config is read by Transformers, by the backbone's class and by ``peft``, each of which
    raises what it likes for a value of a wrong type.
    """
    try:
        yield
    except (BadInput, MissingDependency):
        raise
    except Exception as error:
        raise BadInput(
            f"{named}: expected a config.json that a model can be built from "
            f"({type(error).__name__}: {reason_of(error, 200)})"
        ) from error


def _config(path: Path, values: dict[str, Any], kwargs: dict[str, Any]) -> RMTConfig:
    config = kwargs.pop("config", None)
    given = {name: value for name, value in kwargs.items() if name not in _IGNORED}
    attention = given.pop("attn_implementation", None)
    for name in given:
        if name not in OPTIONS:
            raise BadInput(
                f"from_pretrained has no {name!r}: expected dtype, device_map, "
                "attn_implementation, output_loading_info, config or an option of RMTConfig"
            )
    if not isinstance(config, RMTConfig):
        config = RMTConfig(**{**values, **given})
    elif given:
        config = RMTConfig(**{**config.to_dict(), **given})
    if attention is not None:
        config.update({"_attn_implementation": attention})
    config.name_or_path = str(path)
    return config


def _dtype(dtype: Any) -> torch.dtype | None:
    """None is that of each saved tensor."""
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype, dtype)
    if dtype is None or dtype == "auto":
        return None
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BadInput(f"dtype {dtype!r}: expected a floating dtype of torch, or 'auto'")
    return dtype


def _device(device_map: Any) -> torch.device:
    if isinstance(device_map, dict) and set(device_map) == {""}:
        device_map = device_map[""]
    try:
        return torch.device("cpu" if device_map is None else device_map)
    except (RuntimeError, TypeError) as error:
        raise BadInput(
            f"device_map {device_map!r}: expected one device; accelerate.dispatch_model spreads a "
            "loaded model over several"
        ) from error


def _config_values(path: Path) -> dict[str, Any]:
    values = read_config(path / "config.json", f"checkpoint {str(path)!r}: config.json")
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != RMTConfig.model_type:
        raise BadInput(
            f"checkpoint {str(path)!r} is of model_type {kind!r}: expected {RMTConfig.model_type!r}"
        )
    _require_sizes(values, f"checkpoint {str(path)!r}: config.json")
    return dict(values)


def _require_sizes(values: Any, named: str) -> None:
    """Refuses a size that would fill the memory before a weight is looked at."""
    for key, value in values.items():
        if isinstance(value, dict):
            _require_sizes(value, named)
        elif isinstance(value, int) and _SIZE.search(key) and value > most_of(key, MOST_ROWS):
            most = most_of(key, MOST_ROWS)
            raise BadInput(f"{named}: {key} is {value}, expected {most:,} or less")


def _weight_files(path: Path) -> list[Path]:
    """Opens every weight file: a truncated one has a header that promises more than is there."""
    names = [_WEIGHTS]
    if (path / _INDEX).exists():
        named = f"checkpoint {str(path)!r}: {_INDEX}"
        index = read_json(path / _INDEX, named)
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict) or not places:
            raise BadInput(f"{named}: expected a weight_map of names and files")
        names = sorted({str(name) for name in places.values()})
    files = [path / Path(name).name for name in names]
    for file in files:
        if not file.is_file():
            raise BadInput(f"checkpoint {str(path)!r}: expected {file.name}")
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError, MemoryError) as error:
            raise BadInput(
                f"checkpoint {str(path)!r}: {file.name} is truncated or damaged: {error}"
            ) from error
    return files


def _tensors(files: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                yield name, opened.get_tensor(name)


def _fill_backbone(files: list[Path], backbone: nn.Module) -> None:
    """Puts in the weights that a backbone has without adapters, as far as they are there."""
    owned = backbone.state_dict(keep_vars=True)
    for name, value in _tensors(files):
        own = owned.get(without_adapters(name).removeprefix("backbone."))
        if own is not None and own.shape == value.shape:
            own.data = value


def _fill(
    model: nn.Module, files: list[Path], dtype: torch.dtype | None, checkpoint: str, kind: str
) -> None:
    """Puts the tensors of the files into the model, under all the names each has."""
    owned = model.state_dict(keep_vars=True)
    left = {name: id(value) for name, value in owned.items()}
    unexpected: list[str] = []
    filled: set[int] = set()
    for name, value in _tensors(files):
        if name not in owned:
            unexpected.append(name)
            continue
        if value.shape != owned[name].shape:
            raise BadInput(
                f"{checkpoint}: weights of another shape, {name} {tuple(value.shape)}: "
                f"expected {tuple(owned[name].shape)}"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadInput(f"{checkpoint}: {name} has weights that are no finite numbers")
        cast = dtype is not None and value.is_floating_point()
        owned[name].data = value.to(dtype) if cast else value
        filled.add(left[name])
    missing = [name for name, key in left.items() if key not in filled]
    for what, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise BadInput(
                f"{checkpoint} has {len(names)} {what} keys, first {min(names)}: expected the "
                f"weights of a {kind}"
            )
