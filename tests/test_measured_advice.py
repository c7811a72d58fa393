"""Pairs that were measured with and without a change, against what the change is said to save."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rmtscale.costs.advice import Advice, changes_of, saving
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time_range import predicted_step
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "profiles" / "nvidia-h200"
FILES = [FOLDER / "time-crossovers.jsonl", FOLDER / "bench" / "advice.jsonl"]
ACCURACY = " ".join((ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8").split())
H200 = find_device("h200")


class Pair(NamedTuple):
    """A step measured with and without a change."""

    what: str
    saved_seconds: float
    predicted: Advice

    @property
    def held(self) -> bool:
        return self.predicted.least_seconds <= self.saved_seconds <= self.predicted.most_seconds

    @property
    def pays(self) -> bool:
        """Whether it would be advised."""
        return self.predicted.least_seconds > 0.01 * self.predicted.step_seconds


Key = tuple[ModelSpec, Workload, Recurrence | None]


def key(model: ModelSpec, work: Workload, design: Recurrence | None) -> Key:
    return replace(model, name="", hub_name=None, source=""), work, design


@cache
def pairs() -> tuple[Pair, ...]:
    return tuple(_pairs())


def _pairs() -> Iterator[Pair]:
    for path in FILES:
        measured: dict[Key, list[Record]] = defaultdict(list)
        for record in RecordStore(path).read().records:
            point = record.point
            if point.mode == "train" and record.measured.event_time is not None:
                found = key(point.built_model, point.workload(), point.recurrence())
                measured[found].append(record)
        for (model, work, design), records in measured.items():
            for change in changes_of(model, work, design):
                beside = measured.get(key(change.model, change.work, design))
                if not beside:
                    continue
                without, with_it = (
                    predicted_step(one, asked, H200, design)
                    for one, asked in ((model, work), (change.model, change.work))
                )
                assert without is not None
                assert with_it is not None
                advice = saving(without, with_it, change, known_constants(H200))
                saved = seconds(records) - seconds(beside)
                yield Pair(f"{records[0].point.title()}: {change.words}", saved, advice)


def seconds(records: list[Record]) -> float:
    times = [record.measured.event_time for record in records]
    return float(median(one.median_seconds for one in times if one is not None))


def test_measured_savings_lie_in_their_intervals() -> None:
    for one in pairs():
        sys.stdout.write(
            f"\n{one.held} {one.what}: {1e3 * one.saved_seconds:.2f} ms, predicted "
            f"{1e3 * one.predicted.saved_seconds:.2f} ({1e3 * one.predicted.least_seconds:.2f} to "
            f"{1e3 * one.predicted.most_seconds:.2f}), advised: {one.pays}"
        )
    advised = [one for one in pairs() if one.pays]
    held = sum(one.held for one in advised)
    assert held >= 0.9 * len(advised)
    assert all(one.saved_seconds > 0 for one in advised), "what is advised pays"
