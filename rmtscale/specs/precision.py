"""Precisions: which dtypes weights, gradients, matmuls and an optimizer's moments have."""

from __future__ import annotations

from dataclasses import dataclass, field

from rmtscale.errors import BadInput, quoted_list

FP32_BYTES = 4
DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""The dtypes that weights and activations may have."""


@dataclass(frozen=True, slots=True)
class Precision:
    """One way to mix dtypes, or not to."""

    name: str
    arithmetic: str
    """The kind of arithmetic that matmuls run in; one of ``DEVICE_DTYPES``."""
    weights: str
    """Dtype of weights and of their gradients."""
    autocast: bool = False
    """``torch.autocast``: weights stay in fp32, a matmul reads casts of them."""
    master: bool = False
    """The optimizer has fp32 copies of the weights, and its moments beside those."""

    weight_bytes: int = field(init=False)
    compute_bytes: int = field(init=False)
    """Bytes of what a matmul reads and writes."""

    def __post_init__(self) -> None:
        # Attributes, for every estimate of memory asks for them a dozen times.
        object.__setattr__(self, "weight_bytes", DTYPE_BYTES[self.weights])
        width = DTYPE_BYTES.get(self.arithmetic, FP32_BYTES)
        object.__setattr__(self, "compute_bytes", width)

    @property
    def state_bytes(self) -> int:
        """Bytes of a number of the optimizer's moments."""
        return FP32_BYTES if self.master else self.weight_bytes


PRECISIONS = {
    one.name: one
    for one in (
        Precision("fp32", "fp32", "fp32"),
        Precision("tf32", "tf32", "fp32"),
        Precision("bf16", "bf16", "bf16"),
        Precision("fp16", "fp16", "fp16"),
        Precision("amp-bf16", "bf16", "fp32", autocast=True),
        Precision("amp-fp16", "fp16", "fp32", autocast=True),
        Precision("master-bf16", "bf16", "bf16", master=True),
    )
}
ALIASES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "half": "fp16"}
"""Names that torch has for the plain ones."""


def plain_dtype(name: str) -> str:
    """Returns the name of a dtype as it is used here: ``bfloat16`` is ``bf16``.

    Raises:
        BadInput: no such dtype; names those that there are.
    """
    found = ALIASES.get(name, name)
    if found not in DTYPE_BYTES:
        raise BadInput(f"dtype {name!r}: expected one of {', '.join(DTYPE_BYTES)}")
    return found


def find_precision(name: str) -> Precision:
    """Returns the precision of a name or an alias.

    Raises:
        BadInput: no such precision; names those that there are.
    """
    found = PRECISIONS.get(ALIASES.get(name, name))
    if found is None:
        raise BadInput(f"precision {name!r}: expected {quoted_list(PRECISIONS)}")
    return found
