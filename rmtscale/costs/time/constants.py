"""The constants of a machine that times are predicted from, each with its spread.

A GPU has a rate of matrix multiplications and of fused attention for each kind of arithmetic, a
bandwidth, the share of it that kernels reach which look at rows, the least time of a kernel, the
share of its rate that a misaligned matrix reaches, and the share that the power cap leaves of dense
work that goes on. A host needs so many seconds to start an operator of the forward pass and one of
the backward pass, and for one tensor of weights in the optimizer.

Without a measurement a GPU's constants are shares of its datasheet, as an H200 reached them, and
printed with a wide range; a constant that no machine can have is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from rmtscale.errors import BadInput
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.link_speed import LinkSpeed
from rmtscale.specs.links import node_link
from rmtscale.specs.spread import Plausible, Spread

MATMUL, ATTENTION = "matmul", "attention"
BANDWIDTH = "bandwidth bytes per second"
ROW_SHARE = "row share"
FLOOR = "floor seconds"
MISALIGNED = "misaligned share"
POWER = "power share"
FORWARD_OPERATOR = "forward operator seconds"
BACKWARD_OPERATOR = "backward operator seconds"
TENSOR = "tensor seconds"


@lru_cache(maxsize=64)
def rate_name(kind: str, arithmetic: str) -> str:
    """Name of a rate: ``matmul bf16 flops per second``."""
    return f"{kind} {arithmetic} flops per second"


_RANGES = {
    ROW_SHARE: Plausible(0.2, 1.0, ""),
    FLOOR: Plausible(0.3e-6, 10e-6, "s"),
    MISALIGNED: Plausible(0.05, 1.0, ""),
    POWER: Plausible(0.4, 1.0, ""),
    FORWARD_OPERATOR: Plausible(3e-6, 100e-6, "s"),
    BACKWARD_OPERATOR: Plausible(3e-6, 100e-6, "s"),
    TENSOR: Plausible(3e-6, 300e-6, "s"),
}
_SHARES = {
    MATMUL: Plausible(0.3, 1.0, "FLOP/s"),
    ATTENTION: Plausible(0.3, 1.5, "FLOP/s"),
    BANDWIDTH: Plausible(0.4, 1.0, "B/s"),
}
"""Shares of the datasheet that a rate may reach. That of attention is the one of endlessly wide
heads, which no kernel has."""

DATASHEET_SHARES = {
    (MATMUL, "fp32"): 0.76,
    (MATMUL, ""): 0.855,
    (ATTENTION, "fp32"): 1.2,
    (ATTENTION, ""): 1.14,
    (BANDWIDTH, ""): 0.875,
}
"""Shares that an H200 reaches of its datasheet; "" is any other arithmetic."""
USUAL = {
    ROW_SHARE: 0.5,
    FLOOR: 1.2e-6,
    MISALIGNED: 0.157,
    POWER: 0.84,
    FORWARD_OPERATOR: 22e-6,
    BACKWARD_OPERATOR: 31e-6,
    TENSOR: 73e-6,
}
UNMEASURED_SPREAD = 0.25
"""A rate that is taken from a datasheet may be so much lower, or higher."""
HOST_SPREAD = 2.0
"""A host may need so many times as long: the same one was seen at half its speed."""
FASTER_HOST = 1.5
"""And so many times less: another day's was that much faster."""
USUAL_PROCESSORS = 108
"""Multiprocessors of a GPU of which nothing is known: an A100's."""


@dataclass(frozen=True, eq=False)
class TimeConstants:
    """The constants of one machine, by name.

    Raises:
        BadInput: a constant that is not there, is not between its ends, or that no machine has.
    """

    device: DeviceSpec
    spreads: Mapping[str, Spread]
    processors: int = USUAL_PROCESSORS
    """Multiprocessors: the tiles of a matrix are dealt out to them."""
    measured: bool = False
    """On this very kind of machine; else they are shares of its datasheet."""
    source: str = "shares of the datasheet"
    links: tuple[LinkSpeed, ...] = ()
    """How fast GPUs of one node were measured to reach each other."""
    _values: dict[str, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        expected = dict(_expected(self.device))
        for name, plausible in expected.items():
            spread = self.spreads.get(name)
            if spread is None:
                raise BadInput(f"constants of {self.device.name}: expected {name!r} among them")
            plausible.require(name, spread)
        values = {name: self.spreads[name].value for name in expected}
        object.__setattr__(self, "_values", values)
        node_link(self.device, self.links)

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def rate(self, kind: str, arithmetic: str) -> float:
        """FLOP/s of matrix multiplications or of attention.

        Raises:
            BadInput: arithmetic that the device does not have.
        """
        found = self._values.get(rate_name(kind, arithmetic))
        if found is None:
            self.device.flops_per_second(arithmetic)
            raise BadInput(f"constants of {self.device.name}: expected some of {arithmetic!r}")
        return found


def _expected(device: DeviceSpec) -> Iterator[tuple[str, Plausible]]:
    for arithmetic in device.dtypes:
        for kind in (MATMUL, ATTENTION):
            peak = device.flops_per_second(_attention_arithmetic(kind, arithmetic))
            low, high, unit = _SHARES[kind]
            yield rate_name(kind, arithmetic), Plausible(low * peak, high * peak, unit)
    low, high, unit = _SHARES[BANDWIDTH]
    peak = device.bandwidth_bytes_per_second
    yield BANDWIDTH, Plausible(low * peak, high * peak, unit)
    yield from _RANGES.items()


def _attention_arithmetic(kind: str, arithmetic: str) -> str:
    """TF32 is for matmuls; fused attention runs in fp32 all the same."""
    return "fp32" if kind == ATTENTION and arithmetic == "tf32" else arithmetic


def datasheet_constants(device: DeviceSpec) -> TimeConstants:
    """Returns constants of a GPU that nobody measured: shares of its datasheet.

    Raises:
        BadInput: a device that is known for its memory only.
    """
    if not device.timed:
        device.flops_per_second("fp32")
    spreads = {}
    for arithmetic in device.dtypes:
        for kind in (MATMUL, ATTENTION):
            used = _attention_arithmetic(kind, arithmetic)
            share = DATASHEET_SHARES.get((kind, used), DATASHEET_SHARES[kind, ""])
            spreads[rate_name(kind, arithmetic)] = Spread.around(
                share * device.flops_per_second(used), 1 + UNMEASURED_SPREAD
            )
    bandwidth = DATASHEET_SHARES[BANDWIDTH, ""] * device.bandwidth_bytes_per_second
    spreads[BANDWIDTH] = Spread.around(bandwidth, 1 + UNMEASURED_SPREAD)
    for name, value in USUAL.items():
        host = name in (FORWARD_OPERATOR, BACKWARD_OPERATOR, TENSOR)
        spreads[name] = Spread.around(value, HOST_SPREAD if host else 1 + UNMEASURED_SPREAD)
    return TimeConstants(device, spreads)
