"""Operators as they were measured alone: one line of a file each, and back again."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from rmtscale.costs.time.kernels import Attention, Kernel, Matmul, Stream
from rmtscale.errors import BadInput
from rmtscale.readers import load_json


class MeasuredKernel(NamedTuple):
    """A kernel, and the shortest time of it."""

    kernel: Kernel
    arithmetic: str
    name: str
    seconds: float


class MeasuredHost(NamedTuple):
    """A step whose pace the host set: what it started, and the shortest time of it."""

    forward: int
    backward: int
    tensors: int
    seconds: float
    loop_seconds: float
    """A fixed loop of Python beside it."""
    name: str


class Sustained(NamedTuple):
    """A large product at first, and again and again."""

    arithmetic: str
    burst_seconds: float
    sustained_seconds: float


class MeasuredCollective(NamedTuple):
    """A collective among the GPUs of a node, called again and again."""

    kind: str
    ranks: int
    bytes: int
    """Size of the larger side of a call: what a gather makes, what a reduce-scatter reads."""
    seconds: float
    """The shortest, by the slowest rank, with the host ahead of the GPUs."""
    median_seconds: float
    host_seconds: float
    """Seconds that the host takes to start one."""


Measured = MeasuredKernel | MeasuredHost | Sustained | MeasuredCollective
_KERNELS = {"matmul": Matmul, "attention": Attention, "stream": Stream}
_KINDS = {
    "kernel": MeasuredKernel,
    "host": MeasuredHost,
    "sustained": Sustained,
    "collective": MeasuredCollective,
}


def to_line(measured: Measured) -> str:
    """Returns one line of JSON, without its end."""
    kind = next(name for name, one in _KINDS.items() if type(measured) is one)
    fields: dict[str, Any] = measured._asdict()
    if isinstance(measured, MeasuredKernel):
        which = next(name for name, one in _KERNELS.items() if type(measured.kernel) is one)
        fields["kernel"] = {which: measured.kernel._asdict()}
    return json.dumps({kind: fields}, separators=(",", ":"))


def from_line(line: str) -> Measured:
    """Reads a line that ``to_line`` wrote.

    Raises:
        BadInput: anything else.
    """
    try:
        ((kind, fields),) = load_json(line).items()
        if kind == "kernel":
            ((which, sizes),) = fields["kernel"].items()
            fields = {**fields, "kernel": _KERNELS[which](**sizes)}
        made: Measured = _KINDS[kind](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"measured operator {line[:60]!r}: expected a line of calibrate --measure"
        ) from error
    return made
