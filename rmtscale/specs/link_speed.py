"""How fast a link was measured to be, by kind of collective and by how many GPUs take part."""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.errors import BadInput
from rmtscale.specs.spread import Plausible, Spread
from rmtscale.units import require_one_of

GATHER, REDUCE, ALL_REDUCE = "all_gather", "reduce_scatter", "all_reduce"
EXCHANGE, SEND = "all_to_all", "send"
KINDS = (ALL_REDUCE, GATHER, REDUCE, EXCHANGE, SEND)

_LATENCY = Plausible(1e-6, 1e-3, "s")
"""Latencies of a collective inside a node: a kernel's launch at least."""
_SHARES = (0.01, 1.1)
"""Shares of the vendor's bandwidth: GPUs with no way to each other but through the host reach a few
hundredths of NVLink's."""


class LinkSpeed(NamedTuple):
    """Latency and bandwidth of one kind of collective."""

    kind: str
    ranks: int
    """GPUs that took part."""
    latency: Spread
    """Seconds that the smallest call takes."""
    bandwidth: Spread
    """Bytes per second that each GPU sends (``wire_share`` of a call's bytes)."""

    def require_plausible(self, bytes_per_second: float) -> LinkSpeed:
        """Returns it, if a link of this bandwidth, by the vendor, can be so fast.

        Raises:
            BadInput: names the constant and what is accepted.
        """
        require_one_of("kind of collective", self.kind, KINDS)
        if self.ranks < 2:
            raise BadInput(f"{self.kind} of {self.ranks} GPUs: expected 2 or more")
        name = f"{self.kind} of {self.ranks} GPUs"
        _LATENCY.require(f"{name}, latency", self.latency)
        low, high = (share * bytes_per_second for share in _SHARES)
        Plausible(low, high, "B/s").require(f"{name}, bandwidth", self.bandwidth)
        return self


def wire_share(kind: str, ranks: int) -> float:
    """Returns the bytes that a rank sends for each byte of a call's larger side.

    Of a sum twice those of a gather, as rings have them (Thakur et al. 2005).
    """
    if kind == SEND:
        return 1.0
    others = (ranks - 1) / ranks
    return 2 * others if kind == ALL_REDUCE else others
