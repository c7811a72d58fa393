"""Predictions for a point that several processes share: FLOPs, memory, what is sent, seconds."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.layouts.collectives import count_collectives
from rmtscale.costs.layouts.memory import GpuMemory
from rmtscale.records.measurement import Sent
from rmtscale.records.point import Point
from rmtscale.records.record import LayoutPrediction, Prediction
from rmtscale.report.predictions import peak_of, seconds_of
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layout import Layout


def predict_layout(point: Point, layout: Layout, device: DeviceSpec | None) -> Prediction:
    """Predicts the step of one process, the busiest one; communication included."""
    memory = peak_of(point, None)
    assert isinstance(memory, GpuMemory), "the point has a layout"
    # State by state each segment runs twice, as with a checkpoint for each.
    again = replace(
        point.workload(),
        checkpoint_layers=layout.recompute == "full" and not layout.state_by_state,
        checkpoint_segments=layout.state_by_state,
    )
    flops = estimate_flops(point.built_model, again, point.recurrence(), "matmul").total
    between = seconds_of(point, device)
    return Prediction(
        flops=flops // layout.gpus,
        peak_bytes=memory.total,
        seconds=None,
        device=None if device is None or between is None else device.name,
        least_seconds=None if between is None else between.least,
        most_seconds=None if between is None else between.most,
        layout=LayoutPrediction(
            memory_bytes={str(term.name): term.amount for term in memory.terms},
            peak_at=memory.peak_at,
            sent=_sent(point, layout),
            step_seconds=None if between is None else between.likely,
        ),
    )


def _sent(point: Point, layout: Layout) -> tuple[Sent, ...]:
    found: dict[str, Sent] = {}
    for one in count_collectives(point.built_model, point.workload(), layout, point.recurrence()):
        before = found.get(one.kind, Sent(kind=one.kind, calls=0, elements=0, sent_bytes=0))
        found[one.kind] = Sent(
            kind=one.kind,
            calls=before.calls + one.calls,
            elements=before.elements + one.elements,
            sent_bytes=before.sent_bytes + one.bytes,
        )
    return tuple(found[kind] for kind in sorted(found))
