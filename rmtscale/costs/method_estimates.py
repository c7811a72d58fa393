"""The cost of a method at one length, or at many at once.

Lengths in an array become Python integers (``dtype=object``): they are as exact as the scalar form
at any size, where 64-bit integers overflow (2 M tokens through OPT-175B are 2e22 FLOPs), and one
core still makes several hundred thousand estimates a second.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rmtscale.costs.methods.catalog import find_method
from rmtscale.costs.methods.method import Method
from rmtscale.costs.terms import Count
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import DTYPE_BYTES, plain_dtype
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_bytes, format_flops, require_positive

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class MethodEstimate(Printed):
    """Costs of one sequence; an ``int`` each, or arrays of them with one entry a length."""

    flops: Count
    """FLOPs of a forward pass (``matmul``; FFTs and scans, which no counter sees, included)."""
    state_bytes: Count
    """Bytes to be kept to read or write one more token; an encoder's output."""
    activation_bytes: Count
    """Bytes that the mixing of all layers keeps for the backward pass of a training step."""

    def rows(self) -> list[dict[str, int]]:
        """Returns a row for each length, in the order they were given."""
        names = [field.name for field in fields(self)]
        values = [getattr(self, name) for name in names]
        if isinstance(self.flops, int):
            return [dict(zip(names, values, strict=True))]
        columns = [
            value if hasattr(value, "__len__") else [value] * len(values[0]) for value in values
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the costs, as text."""
        rows = [
            [
                format_flops(row["flops"]),
                format_bytes(row["state_bytes"]),
                format_bytes(row["activation_bytes"]),
            ]
            for row in self.rows()
        ]
        return ["FLOPs", "state", "activations"], rows

    def to_frame(self) -> pd.DataFrame:
        """Returns ``rows`` as a frame."""
        return to_frame(self.rows())


def estimate_method(
    model: ModelSpec, tokens: Any, method: Method | str, dtype: str = "bf16"
) -> MethodEstimate:
    """FLOPs, state and activations of ``method`` on ``model``.

    Args:
        model: the backbone, of which only the sequence mixing is exchanged.
        tokens: a length, or a sequence or numpy array of lengths.
        method: a name (``rmtscale.METHODS`` has them) or a method with settings of its own.
        dtype: of states and activations, but for what a method keeps in fp32.

    Raises:
        BadInput: no such method, a backbone that cannot have it, or a length below 1.
    """
    if isinstance(method, str):
        method = find_method(method, model)
    method.require_backbone(model)
    lengths, w = _exact(tokens), DTYPE_BYTES[plain_dtype(dtype)]
    alive = method.at_once(model, lengths, train=True)
    return MethodEstimate(
        sum(term.flops for term in method.terms(model, lengths)),
        method.state_bytes(model, lengths, w),
        model.layers * method.kept_bytes(model, alive, w),
    )


def _exact(tokens: Any) -> Count:
    if isinstance(tokens, int):
        require_positive("tokens", tokens)
        return tokens
    import numpy as np

    lengths = np.asarray(tokens)
    # Numbers beyond 64 bits are objects to numpy.
    whole = lengths.dtype == object and all(type(one) is int for one in lengths.flat)
    if not np.issubdtype(lengths.dtype, np.integer) and not whole:
        raise BadInput(f"tokens of type {lengths.dtype}: expected whole numbers")
    if lengths.size and lengths.min() < 1:
        raise BadInput(f"tokens {lengths.min()}: expected whole numbers of 1 or more")
    return lengths.astype(object)
