"""A cluster: equal GPUs in equal nodes, and what links them."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_GPUS
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.link_speed import LinkSpeed
from rmtscale.specs.links import Link, find_interconnect, node_link
from rmtscale.units import require_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """So many GPUs of one kind.

    Raises:
        BadInput: a number below 1, or GPUs that do not fill their nodes.
    """

    device: DeviceSpec
    gpus: int
    gpus_per_node: int = 8
    inside: Link
    """Link among the GPUs of a node."""
    between: Link
    """Link from node to node."""

    def __post_init__(self) -> None:
        require_positive("gpus", self.gpus, MOST_GPUS)
        require_positive("gpus per node", self.gpus_per_node, MOST_GPUS)
        if self.gpus > self.gpus_per_node and self.gpus % self.gpus_per_node:
            raise BadInput(
                f"gpus {self.gpus}: expected a multiple of the {self.gpus_per_node} of a node"
            )

    @classmethod
    def of(
        cls,
        device: DeviceSpec,
        gpus: int,
        gpus_per_node: int = 8,
        interconnect: str = "",
        measured: tuple[LinkSpeed, ...] = (),
    ) -> Cluster:
        """Returns a cluster with the links that the device and the interconnect's name stand for.

        Args:
            measured: what the links inside such a node were measured to reach.

        Raises:
            BadInput: an unknown interconnect, numbers that cannot be, or that no link has.
        """
        return cls(
            device=device,
            gpus=gpus,
            gpus_per_node=gpus_per_node,
            inside=node_link(device, measured),
            between=find_interconnect(interconnect, device),
        )

    @property
    def measured(self) -> bool:
        """Whether all of its links were measured: those between nodes never are."""
        together = max((one.ranks for one in self.inside.measured), default=0)
        return self.gpus <= min(self.gpus_per_node, together)

    def title(self) -> str:
        """Returns it in words: ``64 NVIDIA A100 80GB SXM4, 8 a node, nvlink3 and ib-hdr``."""
        links = self.inside.name
        if self.gpus > self.gpus_per_node:
            links += f" and {self.between.name}"
        each = min(self.gpus, self.gpus_per_node)
        return f"{self.gpus:,} {self.device.title}, {each} a node, {links}"
