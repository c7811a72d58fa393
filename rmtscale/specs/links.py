"""Links between GPUs: inside a node and between nodes, each with its source.

Bandwidths are the vendor's, in one direction, for one GPU. What a collective reaches of them, and
how long the smallest one takes, was measured by others on machines whose step times nothing here is
held against (``REACHED``); another machine may reach more or less, so times that rest on links are
ranges. ``rmtscale calibrate --measure`` measures the links inside a node of several GPUs.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.link_speed import LinkSpeed

GB = 10**9


class Link(NamedTuple):
    """One kind of link, for one GPU and in one direction."""

    name: str
    bytes_per_second: int
    latency_seconds: float
    """Seconds that the smallest collective takes."""
    share: float
    """Share of the bandwidth that a large collective reaches."""
    source: str
    measured: tuple[LinkSpeed, ...] = ()
    """How fast it was measured to be, which goes before share and latency."""

    def reach(self, kind: str, ranks: int) -> tuple[float, float]:
        """Returns the bytes per second that a collective reaches, and the seconds of a tiny one.

        Of groups that were measured the one nearest in size counts, of two as near the larger.
        Of a larger group than any of them nothing was measured: two GPUs of a node reach less of
        their links than eight do.
        """
        near = [one for one in self.measured if one.kind == kind]
        if ranks > max((one.ranks for one in near), default=0):
            return self.share * self.bytes_per_second, self.latency_seconds
        one = min(near, key=lambda it: (round(abs(log(it.ranks / ranks)), 9), -it.ranks))
        return one.bandwidth.value, one.latency.value


REACHED = "stas00/ml-engineering, network/benchmarks (H200 node, 4 nodes of B200), 2026"
_INSIDE = (20e-6, 0.8)
"""NCCL's all-reduce of 32 KiB in a node of H200 takes 18 us; NVLink peer copies reach 0.83 of the
vendor's 450 GB/s on an H100 (NVIDIA/nccl issue 1264), collectives without SHARP somewhat less."""
_BETWEEN = (70e-6, 0.9)
"""Four nodes: 32 KiB take 70 us, and 16 GiB reach 377 of 400 GB/s a node."""

_NVLINK = "NVLink, both directions, of the data sheet, halved"
NODE_LINKS = {
    link.name: link
    for link in (
        Link("nvlink2", 150 * GB, *_INSIDE, f"NVIDIA V100 data sheet, 2020: 300 GB/s {_NVLINK}"),
        Link("nvlink3", 300 * GB, *_INSIDE, f"NVIDIA A100 data sheet, 2021: 600 GB/s {_NVLINK}"),
        Link("nvlink4", 450 * GB, *_INSIDE, f"NVIDIA H100 data sheet, 2023: 900 GB/s {_NVLINK}"),
        Link("nvlink5", 900 * GB, *_INSIDE, f"HGX B200 data sheet, 2025: 1800 GB/s {_NVLINK}"),
        Link("pcie3", 16 * GB, *_INSIDE, "PCI Express 3.0, 16 lanes of 8 GT/s"),
        Link("pcie4", 32 * GB, *_INSIDE, "PCI Express 4.0, 16 lanes of 16 GT/s"),
        Link("pcie5", 64 * GB, *_INSIDE, "PCI Express 5.0, 16 lanes of 32 GT/s"),
        Link("xgmi", 448 * GB, *_INSIDE, "AMD MI300X data sheet, 2023: 7 links of 64 GB/s"),
    )
}
INTERCONNECTS = {
    link.name: link
    for link in (
        Link("ib-hdr", 25 * GB, *_BETWEEN, "InfiniBand HDR, 200 Gbit/s a GPU (DGX A100, 2020)"),
        Link("ib-ndr", 50 * GB, *_BETWEEN, "InfiniBand NDR, 400 Gbit/s a GPU (DGX H100, 2022)"),
        Link("ib-xdr", 100 * GB, *_BETWEEN, "InfiniBand XDR, 800 Gbit/s a GPU (DGX B300, 2025)"),
        Link("roce-400", 50 * GB, *_BETWEEN, "RoCE, 400 Gbit/s a GPU (Grattafiori et al. 2024)"),
        Link("opa-400", 6_250_000_000, *_BETWEEN, "4 Omni-Path links of 100 Gbit/s for 8 GPUs"),
        Link("efa-400", 6_250_000_000, *_BETWEEN, "AWS P4d: 400 Gbit/s for 8 GPUs"),
        Link("efa-3200", 50 * GB, *_BETWEEN, "AWS P5: 3,200 Gbit/s for 8 GPUs"),
        Link("ethernet-100", 1_562_500_000, *_BETWEEN, "100 Gbit/s for 8 GPUs"),
    )
}
"""Links between nodes, by the name that ``--interconnect`` takes."""

_BY_DEVICE = {
    "nvlink2": ("v100-16gb", "v100-32gb"),
    "nvlink3": ("a100-40gb", "a100-80gb"),
    "nvlink4": ("h100-sxm", "h200", "gh200", "h20"),
    "nvlink5": ("b200", "b300"),
    "pcie3": ("v100-16gb-pcie", "v100-32gb-pcie", "t4"),
    "pcie5": ("h100-pcie", "h100-nvl", "rtx-5090"),
    "xgmi": ("mi300x", "mi325x"),
}
_USUAL = {"nvlink3": "ib-hdr", "nvlink4": "ib-ndr", "nvlink5": "ib-ndr", "xgmi": "ib-ndr"}


def node_link(device: DeviceSpec, measured: tuple[LinkSpeed, ...] = ()) -> Link:
    """Returns the link inside a node of this device; PCI Express 4.0 where it has no other.

    Args:
        measured: what such a link was measured to reach.

    Raises:
        BadInput: more, or less, than such a link can.
    """
    known = (name for name, devices in _BY_DEVICE.items() if device.name in devices)
    link = NODE_LINKS[next(known, "pcie4")]
    for one in measured:
        one.require_plausible(link.bytes_per_second)
    return link._replace(measured=measured)


def find_interconnect(name: str, device: DeviceSpec) -> Link:
    """Returns the interconnect of that name; for an empty one what usually goes with the device.

    Raises:
        BadInput: no interconnect of that name; lists all that are known.
    """
    name = name.strip().lower() or _USUAL.get(node_link(device).name, "ethernet-100")
    if name not in INTERCONNECTS:
        raise BadInput(f"interconnect {name!r}: expected {quoted_list(INTERCONNECTS)}")
    return INTERCONNECTS[name]
