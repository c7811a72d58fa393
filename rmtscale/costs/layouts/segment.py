"""Which segment size to take on many GPUs: by the best layout that each one has there.

What one GPU could do alone says nothing of it: where no segment fits into one, those of many may
all fit, and a short segment then pays for the start of its operators without need.
"""

from __future__ import annotations

from rmtscale.costs.layouts.search import Search, search_layouts
from rmtscale.costs.segment_choice import (
    EQUAL,
    SegmentChoice,
    longest_of_equal,
    possible_segment_sizes,
)
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.errors import BadInput
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import AUTO
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_percent


def recommend_cluster_segment(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    memory_tokens: int,
    name: str = AUTO,
    constants: TimeConstants | None = None,
) -> SegmentChoice:
    """The segment size to take for a workload on a cluster, in the best layout or the named one.

    Args:
        workload: the batch size is that of a whole step, on all GPUs together.
        name: ``auto``, or a layout as ``parse_layout`` takes it.
        constants: of the cluster's device; else those that are known of it.

    Raises:
        BadInput: no size is possible, a layout that cannot be of any, or a model whose layers are
            not known.
    """
    sizes = possible_segment_sizes(model, memory_tokens)
    searches: dict[Recurrence, Search] = {}
    refused: BadInput | None = None
    for size in sizes:
        design = Recurrence(size, memory_tokens)
        try:
            searches[design] = search_layouts(model, workload, cluster, design, name, constants)
        except BadInput as error:  # a layout that does not divide this one
            refused = refused or error
    if refused is not None and not searches:
        raise refused
    seconds = {
        design: search.best.time.seconds
        for design, search in searches.items()
        if search.best is not None
    }
    if not seconds:
        least = min(searches, key=lambda design: searches[design].least_bytes)
        return SegmentChoice(
            least,
            f"none from {sizes[0]} to {sizes[-1]} fits in any layout, this one needs the least "
            "memory",
        )
    return SegmentChoice(
        longest_of_equal(list(seconds), list(seconds.values())),
        f"the longest from {sizes[0]} to {sizes[-1]} whose best layout takes at most "
        f"{format_percent(EQUAL)} more time than the best of all",
    )
