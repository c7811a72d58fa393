"""The device at hand: what ``auto`` stands for, on the command line and in Python."""

from __future__ import annotations

from rmtscale.errors import BadInput
from rmtscale.records.nvml import NoGpu, open_gpu
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import find_by_driver_name, find_device

AUTO = "auto"


def resolve_device(name: str) -> DeviceSpec:
    """Returns the device of a name; ``auto`` is the one at hand.

    Raises:
        BadInput: no such device, or none at hand.
    """
    return device_at_hand() if name.strip().lower() == AUTO else find_device(name)


def device_at_hand() -> DeviceSpec:
    """Returns the known device that CUDA calls device 0.

    Raises:
        BadInput: no GPU, or one that is not in the table.
    """
    try:
        gpu = open_gpu()
    except NoGpu as error:
        raise BadInput(f"device 'auto': {error}; expected a name of 'rmtscale devices'") from error
    known = find_by_driver_name(gpu.name)
    if known is None:
        raise BadInput(
            f"device 'auto': {gpu.name} is not known, expected a name of 'rmtscale devices'"
        )
    return known
