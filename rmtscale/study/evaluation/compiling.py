"""Whether an evaluation compiles the step of a full segment."""

from __future__ import annotations

from typing import Protocol

import torch

from rmtscale.errors import BadInput


class _Settings(Protocol):
    @property
    def compile_step(self) -> bool: ...


class _Trained(Protocol):
    @property
    def settings(self) -> _Settings: ...


def compiles(checkpoint: _Trained, asked: bool | None, device: torch.device) -> bool:
    """Tells whether the step of a full segment is compiled: on a GPU, as asked, else as trained.

    Raises:
        BadInput: asked for on a CPU.
    """
    if asked and device.type != "cuda":
        raise BadInput("--compile on a CPU: expected --device cuda, segments are compiled there")
    wanted = checkpoint.settings.compile_step if asked is None else asked
    return wanted and device.type == "cuda"
