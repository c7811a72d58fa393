"""Bytes of a model's weights: plain ones in the dtype, quantised ones in their layouts."""

from __future__ import annotations

from functools import lru_cache

from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.terms import PassTerm
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.model import ModelSpec


def weight_bytes(model: ModelSpec, dtype_bytes: int) -> int:
    """Bytes of all weights; a tied head counts once."""
    parameters = count_parameters(model).total
    quantization = model.quantization
    if quantization is None:
        return parameters * dtype_bytes
    plain = parameters - quantization.numbers()
    return plain * dtype_bytes + quantization.stored_bytes(dtype_bytes)


def dequantized_bytes(model: ModelSpec, dtype_bytes: int) -> int:
    """Bytes of the largest copy that a matrix is multiplied as: one is alive at a time."""
    if model.quantization is None:
        return 0
    return model.quantization.dequantized_numbers() * dtype_bytes


def saved_traffic_bytes(model: ModelSpec, term: PassTerm, numbers: int, dtype_bytes: int) -> int:
    """Bytes less that have to be read of so many weights of a term than in the dtype."""
    saved = _saved_bytes(model, dtype_bytes).get(term.name, 0)
    every = term.all_weights or term.weights
    return saved * numbers // every if saved and every else 0


@lru_cache(maxsize=256)
def _saved_bytes(model: ModelSpec, dtype_bytes: int) -> dict[str, int]:
    """Returns by term how many bytes fewer its quantised matrices take than in the dtype."""
    saved: dict[str, int] = {}
    if model.quantization is not None:
        for item in model.quantization.matrices:
            stored = item.format.stored_bytes(item.inner, item.outer, dtype_bytes)
            less = item.copies * (item.inner * item.outer * dtype_bytes - stored)
            saved[item.term] = saved.get(item.term, 0) + less
    return saved


def require_weights(
    model: ModelSpec, device: DeviceSpec | None, *, train: bool, adapter: Adapter | None = None
) -> None:
    """Raises ``BadInput`` where the weights as they are stored cannot be used.

    In training, where a quantised weight has no gradient; on a device for which no kernel takes
    their layout.
    """
    quantization = model.quantization
    quantised_training = adapter is not None and adapter.kind == "qlora"
    if quantization is None:
        if quantised_training:
            raise BadInput("adapter 'qlora': expected quantised weights such as nf4, or lora")
        return
    if train and not quantised_training:
        raise BadInput(
            f"weights {quantization.title}: have no gradient, expected mode forward, adapter "
            "qlora or plain weights"
        )
    if device is None or device.compute_capability is None:
        return
    if device.compute_capability < quantization.capability:
        needed = ".".join(map(str, quantization.capability))
        own = ".".join(map(str, device.compute_capability))
        raise BadInput(
            f"weights {quantization.title}: need compute capability {needed}, {device.name} has "
            f"{own}; expected plain weights or another device"
        )
