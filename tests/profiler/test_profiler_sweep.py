"""Sweeps: order, resuming, what is skipped, two at once, and an end in the middle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.profiler.prediction import Machine, this_machine
from rmtscale.profiler.sweep import Sweep, run_sweep
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from rmtscale.records.store import RecordStore
from rmtscale.specs.catalog import PRESETS

Make = Callable[..., Point]


class Watcher:
    """Notes what a sweep says."""

    def __init__(self) -> None:
        self.todo: list[Point] = []
        self.done_before = 0
        self.records: list[Record] = []

    def begin(self, todo: Sequence[Point], done: int) -> None:
        self.todo, self.done_before = list(todo), done

    def point(self, point: Point) -> None:
        pass

    def stage(self, stage: str) -> None:
        pass

    def record(self, record: Record) -> None:
        self.records.append(record)


class Fake:
    """Measures without measuring: longer than ``longest`` is ``outcome``."""

    def __init__(self, measured: Measurement, longest: int = 10**9, outcome: str = "oom") -> None:
        self.measured, self.longest, self.outcome = measured, longest, outcome
        self.asked: list[Point] = []

    def __call__(
        self, point: Point, protocol: Protocol, report: Callable[[str], None]
    ) -> Measurement:
        self.asked.append(point)
        assert protocol.repeats > 0
        report("build")
        if point.tokens > self.longest and point.method == "full":
            return Measurement(
                outcome=self.outcome,  # type: ignore[arg-type]
                error="as told",
                environment=self.measured.environment,
            )
        return self.measured


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path / "sweep.jsonl")


@pytest.fixture
def measured(record: Callable[..., Record]) -> Measurement:
    return record().measured


@pytest.fixture
def sweep(point: Make) -> Sweep:
    lengths = (128, 256, 512, 1024)
    full = [point(tokens=tokens) for tokens in lengths]
    rmt = [
        point(tokens=tokens, method="rmt", segment_size=64, memory_tokens=2) for tokens in lengths
    ]
    return Sweep(points=(*full, *rmt), order="short-first")


def machine(name: str) -> Machine:
    return this_machine("cuda", name)


def outcomes(store: RecordStore) -> dict[tuple[str, int], str]:
    return {
        (one.point.method, one.point.tokens): one.measured.outcome for one in store.read().records
    }


def test_every_point_is_a_record(sweep: Sweep, store: RecordStore, measured: Measurement) -> None:
    watcher = Watcher()
    run_sweep(sweep, store, watcher, machine=machine("h200"), measure=Fake(measured))
    assert list(store.read().records) == watcher.records
    assert {one.point for one in watcher.records} == set(sweep.points)
    assert all(one.predicted.device == "h200" for one in watcher.records)
    assert all(one.predicted.seconds for one in watcher.records)


def test_a_second_run_measures_nothing(
    sweep: Sweep, store: RecordStore, measured: Measurement
) -> None:
    run_sweep(sweep, store, Watcher(), measure=Fake(measured))
    before, again, watcher = store.path.read_bytes(), Fake(measured), Watcher()
    run_sweep(sweep, store, watcher, measure=again)
    assert again.asked == watcher.todo == []
    assert watcher.done_before == len(sweep.points)
    assert store.path.read_bytes() == before


def test_it_goes_on_where_it_was_interrupted(
    sweep: Sweep, store: RecordStore, measured: Measurement
) -> None:
    fake = Fake(measured)

    def interrupted(point: Point, protocol: Protocol, report: Callable[[str], None]) -> Measurement:
        if len(fake.asked) == 3:
            raise KeyboardInterrupt
        return fake(point, protocol, report)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, store, Watcher(), measure=interrupted)
    assert len(store.read().records) == 3
    rest = Fake(measured)
    run_sweep(sweep, store, Watcher(), measure=rest)
    assert len(rest.asked) == len(sweep.points) - 3
    assert set(fake.asked).isdisjoint(rest.asked)
    assert len(store.read().records) == len(sweep.points)


@pytest.mark.parametrize("outcome", ["oom", "timeout"])
def test_longer_points_of_a_series_that_ended_are_skipped(
    outcome: str, sweep: Sweep, store: RecordStore, measured: Measurement
) -> None:
    fake = Fake(measured, longest=256, outcome=outcome)
    run_sweep(sweep, store, Watcher(), measure=fake)
    found = outcomes(store)
    assert found["full", 256] == "ok"
    assert found["full", 512] == outcome
    assert found["full", 1024] == "skipped"
    assert found["rmt", 1024] == "ok"
    assert ("full", 1024) not in {(one.method, one.tokens) for one in fake.asked}
    skipped = next(one for one in store.read().records if one.measured.outcome == "skipped")
    assert skipped.measured.error is not None
    assert skipped.measured.error.endswith("at 512 tokens already")


def test_what_never_fits_is_not_tried(
    store: RecordStore, measured: Measurement, point: Make
) -> None:
    """OPT-6.7B in fp32 on 80 GB: inference, but no training."""
    opt = PRESETS["opt-6.7b"]
    forward = point(model=opt)
    train = point(model=opt, mode="train", optimizer="adamw")
    fake = Fake(measured)
    both = Sweep(points=(forward, train))
    run_sweep(both, store, Watcher(), machine=machine("a100-80gb"), measure=fake)
    assert fake.asked == [forward]
    skipped = store.read().latest()[train.key].measured
    assert skipped.outcome == "skipped"
    assert skipped.error is not None
    assert skipped.error.startswith("the training state alone is predicted to take 1")
    assert skipped.error.endswith("GiB of 79.25 GiB")


def test_a_crash_ends_no_series(sweep: Sweep, store: RecordStore, measured: Measurement) -> None:
    run_sweep(sweep, store, Watcher(), measure=Fake(measured, longest=256, outcome="crashed"))
    assert outcomes(store)["full", 1024] == "crashed"


def test_retry(sweep: Sweep, store: RecordStore, measured: Measurement) -> None:
    run_sweep(sweep, store, Watcher(), measure=Fake(measured, longest=256, outcome="timeout"))
    healed = Fake(measured)
    run_sweep(sweep, store, Watcher(), measure=healed, retry=True)
    assert {(one.method, one.tokens) for one in healed.asked} == {("full", 512), ("full", 1024)}
    latest = store.read().latest()
    assert {one.measured.outcome for one in latest.values()} == {"ok"}
    assert len(store.read().records) == len(sweep.points) + 2


def test_order(sweep: Sweep, point: Make) -> None:
    lengths = [one.tokens for one in sweep.in_order()]
    assert lengths == sorted(lengths)
    random = Sweep(points=sweep.points)
    assert random.in_order() == random.in_order()
    assert random.in_order() != list(sweep.points)
    assert set(random.in_order()) == set(sweep.points)
    assert Sweep(points=sweep.points, seed=1).in_order() != random.in_order()


def test_one_point_is_measured_twice(
    sweep: Sweep, store: RecordStore, measured: Measurement
) -> None:
    paired = sweep.with_pair()
    assert len(paired.points) == len(sweep.points) + 1
    second = paired.points[-1]
    assert second.replicate == 1
    assert sum((one.series, one.tokens) == (second.series, second.tokens) for one in paired.points)
    assert paired.with_pair() == paired
    fake = Fake(measured)
    run_sweep(paired, store, Watcher(), measure=fake)
    assert len(fake.asked) == len(paired.points)


def test_a_sweep_beside_another_on_the_same_device(
    sweep: Sweep, store: RecordStore, measured: Measurement, tmp_path: Path
) -> None:
    """Each would disturb the other; the first goes on."""
    seen = []

    def beside(point: Point, protocol: Protocol, report: Callable[[str], None]) -> Measurement:
        with pytest.raises(BadInput) as refused:
            run_sweep(sweep, RecordStore(tmp_path / "other.jsonl"), Watcher(), measure=beside)
        seen.append(str(refused.value))
        return measured

    run_sweep(sweep, store, Watcher(), measure=beside)
    assert seen == [
        f"device 'cpu' is in use by process {os.getpid()}: expected it to end first"
    ] * len(sweep.points)
    assert len(store.read().records) == len(sweep.points)


def test_a_full_disk_ends_the_sweep_and_keeps_the_records(
    sweep: Sweep, store: RecordStore, measured: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RecordStore.append
    written: list[Record] = []

    def full(self: RecordStore, record: Record) -> None:
        if len(written) == 2:
            raise BadInput("output: cannot be written (No space left on device)")
        written.append(record)
        append(self, record)

    monkeypatch.setattr(RecordStore, "append", full)
    with pytest.raises(BadInput, match="No space left"):
        run_sweep(sweep, store, Watcher(), measure=Fake(measured))
    assert list(store.read().records) == written
