"""The device a training or an evaluation runs on."""

from __future__ import annotations

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
