"""The device a training or an evaluation runs on."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from rmtscale.errors import BadInput

DEVICES = ("cpu", "cuda")


def find_device(name: str | None) -> torch.device:
    """The torch device asked for; None is the GPU if there is one.

    Raises:
        BadInput: another name, or a GPU that is not there.
    """
    if name not in (None, *DEVICES):
        raise BadInput(f"device {name!r}: expected cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device 'cuda': no GPU that torch can use, expected --device cpu here")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def precision_on(device: torch.device, precision: str) -> str:
    """bf16 is for the GPU; a CPU emulates it at a fraction of the speed."""
    return "fp32" if device.type == "cpu" else precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context of a model that is read in a precision."""
    if precision == "fp32":
        return nullcontext()
    # Weights that are cast once and kept would be outside of a captured graph.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def begin_peak(device: torch.device) -> None:
    """Counts the peak from here on, without what an earlier training of this process has left."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)


def peak_allocated_bytes(device: torch.device) -> int | None:
    """Of torch on a GPU, since ``begin_peak``; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
