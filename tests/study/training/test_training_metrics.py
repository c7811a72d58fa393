"""How many steps fit in some time, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.training.layout import METRICS
from rmtscale.study.training.metrics import Interval, MetricsStore, steps_within


def interval(step: int, seconds: float) -> Interval:
    return Interval(
        step=step,
        stage=0,
        stage_name="1 segment",
        loss=1.0,
        accuracy=0.5,
        current_stage_accuracy=0.5,
        learning_rate=1e-3,
        tokens=100,
        seconds=seconds,
        tokens_per_second=100 / seconds,
        waiting_share=0.0,
    )


def test_by_the_median_of_the_last_intervals(tmp_path: Path) -> None:
    # Slow at first, then 0.1 s a step with one slow interval.
    for index, seconds in enumerate([90.0] * 5 + [5.0] * 6 + [40.0] + [5.0] * 3):
        MetricsStore(tmp_path / METRICS).append(interval(50 * (index + 1), seconds))
    assert steps_within(tmp_path, 60.0, 50) == 750 + 600
    assert steps_within(tmp_path, 64.0, 50) == 750 + 600
    assert steps_within(tmp_path, 0.0, 50) == 750 + 50


def test_a_training_without_a_throughput(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"finish within 60 s: the training in .* has no throughput yet"
    ):
        steps_within(tmp_path, 60.0, 50)
