"""Seconds of collectives: latency, and bytes over the bandwidth that a group of ranks has.

A group inside a node has the node's link. One that reaches over nodes has the interconnect of each
of its members that share a node, at most the node's link (NCCL's rings go through all of them).
"""

from __future__ import annotations

from rmtscale.costs.layouts.collectives import Collective
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import Layout
from rmtscale.specs.link_speed import EXCHANGE, wire_share


def group_bandwidth(cluster: Cluster, layout: Layout, axis: str, kind: str) -> tuple[float, float]:
    """Returns the bytes per second and the latency of a group along an axis of the layout."""
    inner = {"tp": 1, "cp": layout.tp, "ep": layout.tp * layout.cp, "data": layout.tp}
    ranks = {"tp": layout.tp, "cp": layout.cp, "ep": layout.ep, "data": layout.shards}
    if axis == "pp":
        stride, members = layout.tp * layout.shards, 2
    else:
        stride, members = inner[axis], ranks[axis]
    node, inside, between = cluster.gpus_per_node, cluster.inside, cluster.between
    reach, latency = inside.reach(kind, min(members, node))
    if stride * members <= node:
        return reach, latency
    together = max(1, min(members, node // stride)) if axis != "pp" else 1
    across = between.share * between.bytes_per_second * together
    return min(reach, across), between.latency_seconds


def wire_bytes(one: Collective) -> float:
    """Returns the bytes that a rank sends."""
    return wire_share(one.kind, one.ranks) * one.bytes


def collective_seconds(one: Collective, cluster: Cluster, layout: Layout) -> float:
    """Returns the seconds of all calls of one kind, one after another."""
    bandwidth, latency = group_bandwidth(cluster, layout, one.axis, one.kind)
    if one.kind == EXCHANGE and latency == cluster.between.latency_seconds:
        # Every pair exchanges its own part: nothing is shared among those of one node.
        bandwidth = min(bandwidth, cluster.between.share * cluster.between.bytes_per_second)
    return one.calls * latency + wire_bytes(one) / bandwidth
