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

from rmtscale.costs.advice import Advice, advise, changes_of, saving
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

    file: str
    what: str
    without_seconds: float
    saved_seconds: float
    predicted: Advice
    hosts_differ: bool
    """Whether one host needed half as long again as the other for the same loop."""

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
                what = f"{records[0].point.title()}: {change.words}"
                speeds = loop_seconds(records), loop_seconds(beside)
                differ = max(speeds) > 1.5 * min(speeds)
                yield Pair(path.name, what, seconds(records), saved, advice, differ)


def seconds(records: list[Record]) -> float:
    times = [record.measured.event_time for record in records]
    return float(median(one.median_seconds for one in times if one is not None))


def loop_seconds(records: list[Record]) -> float:
    speeds = [record.measured.host_speed for record in records]
    return median(one.seconds for one in speeds if one is not None)


def test_what_is_advised_pays() -> None:
    """Savings lie in their intervals, but for one pair whose hosts were not the same."""
    advised = [one for one in pairs() if one.pays]
    assert len(advised) == 4
    assert all(one.saved_seconds > 0 for one in advised)
    (other,) = (one for one in advised if not one.held)
    assert other.hosts_differ
    assert other.saved_seconds > other.predicted.most_seconds, "it saved more than was said"


def test_padding_where_the_device_sets_the_pace() -> None:
    (one,) = (
        one for one in pairs() if 0.11 < one.without_seconds < 0.114 and one.pays and one.held
    )
    whole = one.predicted.step_seconds
    told = [one.without_seconds, whole, one.without_seconds - one.saved_seconds,
            whole - one.predicted.saved_seconds]  # fmt: skip
    before, predicted, after, padded = (f"{1e3 * seconds:.1f}" for seconds in told)
    assert f"takes {before} ms, predicted {predicted} with the slow kernels" in ACCURACY
    assert f"of 50,304 words {after}, predicted {padded}." in ACCURACY


def test_every_pair_of_the_sweep_is_told() -> None:
    told = [one for one in pairs() if one.file == "advice.jsonl"]
    assert len(told) == 7
    for one in told:
        *ends, saved, predicted, least, most = (
            f"{1e3 * seconds:.1f}".replace("-0.0", "0.0")
            for seconds in (
                one.without_seconds,
                one.without_seconds - one.saved_seconds,
                one.saved_seconds,
                one.predicted.saved_seconds,
                one.predicted.least_seconds,
                one.predicted.most_seconds,
            )
        )
        row = (
            f"| {ends[0]} to {ends[1]} ms | {saved} ms | {predicted} ms ({least} to {most}) | "
            f"{'yes' if one.pays else 'no'} |"
        )
        assert row in ACCURACY, row
    others = [1e3 * one.saved_seconds for one in pairs() if one.file != "advice.jsonl"]
    span = f"{min(others):.1f} to {max(others):.1f} ms"
    assert f"{len(others)} pairs of an earlier sweep, {span}, none of them advised" in ACCURACY


def test_steps_where_padding_is_advised_have_the_slow_kernels() -> None:
    """Padded or not: the step is what it is predicted to be with slow kernels."""
    found = 0
    for path in (FOLDER / "gpt2-train.jsonl", FOLDER / "bench" / "advice.jsonl"):
        for record in RecordStore(path).read().records:
            point, time = record.point, record.measured.event_time
            if point.mode != "train" or time is None:
                continue
            design, work = point.recurrence(), point.workload()
            named = {one.name: one for one in advise(point.built_model, work, H200, design)}
            if "padded_vocabulary" not in named:
                continue
            advice = named["padded_vocabulary"]
            padded = advice.step_seconds - advice.saved_seconds
            found += 1
            sys.stdout.write(
                f"\n{point.title()}, {point.tokens}: {1e3 * time.median_seconds:.1f} ms, "
                f"predicted {1e3 * advice.step_seconds:.1f}, padded {1e3 * padded:.1f}"
            )
            off = abs(time.median_seconds - advice.step_seconds)
            assert off < abs(time.median_seconds - padded) / 2
    assert found >= 2
