"""The runs of a rank's layers in one step, and the slots of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rmtscale.costs.passes import plan_passes
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class Visits(NamedTuple):
    """Equal runs of a rank's layers, over all micro-batches."""

    size: int
    """Positions that a rank sees at once; with tensor parallelism all of its ranks see them."""
    text: int
    forward: int
    """Forward runs, those without a graph included."""
    backward: int
    recomputed: int
    """Runs that a checkpoint makes once more."""
    first: bool
    """Whether these are the first of several kinds of runs."""


def visits(
    model: ModelSpec, workload: Workload, layout: Layout, recurrence: Recurrence | None = None
) -> Iterator[Visits]:
    """Yields the runs of one step: one pass of full attention, or the segments of an RMT.

    State by state all segments run once more, without a graph and beforehand.
    """
    micro_batches = layout.micro_batches(workload.batch_size)
    passes = plan_passes(model, workload, recurrence)
    for number, run in enumerate(passes):
        forward = run.runs
        if layout.state_by_state and workload.train:
            forward += run.runs
        again = run.backward_runs if layout.recompute == "full" else 0
        yield Visits(
            -(-run.size_tokens // layout.cp),
            -(-run.text_tokens // layout.cp),
            forward * micro_batches,
            run.backward_runs * micro_batches,
            again * micro_batches,
            number == 0,
        )


def stage_layers(model: ModelSpec, layout: Layout) -> int:
    """Layers of the largest stage."""
    return -(-model.layers // layout.pp)


def pipeline_slots(stages: int, segments: int, rows: int, *, every_layer: bool = False) -> int:
    """Slots that a forward pass takes, of which each stage is busy ``segments * rows``.

    One slot is one segment of one micro-batch on one stage. The first layer of a segment needs the
    last layer of the one before, so that at least ``stages`` micro-batches are needed to keep all
    stages busy. With a state in every layer (``every_layer``: an associative RMT, Transformer-XL)
    the wavefront of Sivtsov et al. 2025 works at any number of rows. Full attention is one segment.
    """
    if every_layer or rows >= stages:
        return segments * rows + stages - 1
    return segments * stages + rows - 1
