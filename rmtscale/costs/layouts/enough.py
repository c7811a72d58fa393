"""Where no layout of a cluster fits: how far away it is, and how many GPUs would be enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rmtscale.costs.layouts.search import Search, fits_somehow
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes

MOST_TRIED = 16_384
"""Most GPUs that are tried: those of Llama 3 (Grattafiori et al. 2024)."""


def enough_gpus(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    recurrence: Recurrence | None = None,
    most: int = MOST_TRIED,
) -> int | None:
    """Returns the fewest GPUs of a cluster's kind on which a layout fits, if any up to ``most`` do.

    Powers of two are tried up to a whole node, then whole nodes by powers of two. Of each the
    layouts that need the least memory are held against the device, by the rules of the search.

    Args:
        workload: the batch size is that of a whole step, on all GPUs together.
        cluster: its device and the size of its nodes count, not its number of GPUs.
        most: GPUs, above which none is tried.

    Returns:
        The number; None where no layout fits on any that was tried.
    """
    for gpus in _numbers(cluster.gpus_per_node, most):
        if fits_somehow(model, workload, replace(cluster, gpus=gpus), recurrence):
            return gpus
    return None


def _numbers(per_node: int, most: int) -> Iterator[int]:
    gpus = 1
    while gpus <= most:
        yield gpus
        gpus = per_node if gpus < per_node < 2 * gpus else 2 * gpus


def shortfall(search: Search, model: ModelSpec, workload: Workload, cluster: Cluster) -> str:
    """Says that nothing fits, how much the nearest needs, and how many GPUs would be enough."""
    room = format_bytes(cluster.device.usable_memory_bytes)
    if search.tried:
        what = (
            f"no layout fits; the least that one GPU needs is {format_bytes(search.least_bytes)} "
            f"of {room}"
        )
    else:
        what = "no layout of these GPUs divides the model and the batch"
    enough = enough_gpus(model, workload, cluster, search.recurrence)
    if enough is None:
        more = f"by doublings, none fits on up to {MOST_TRIED:,} GPUs"
    elif enough > cluster.gpus:
        more = f"by doublings, {enough:,} GPUs are the fewest on which one fits"
    else:
        few = "1 GPU" if enough == 1 else f"{enough:,} GPUs"
        more = f"another one fits, by doublings on as few as {few}"
    return f"{search.title}: {what}; {more}"
