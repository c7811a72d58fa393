"""One sweep measured by several workers, on one host or on several that share a file system.

Each worker takes points one by one, in the order of the sweep, and hands their records in
(``rmtscale.records.claims``); the last one puts all records into their file. A worker waits while
another one of its host measures on the same GPU.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress

from rmtscale.locks import sole_user
from rmtscale.profiler.prediction import Machine
from rmtscale.profiler.preload import Preloaded
from rmtscale.profiler.sweep import (
    Measure,
    Observer,
    Sweep,
    in_child,
    outcomes_again,
    record_point,
)
from rmtscale.records.claims import Claims, Finished, folder_of, wait
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore

_POLL_SECONDS = 1.0
_LEASE_MORE_SECONDS = 180.0
"""How much longer than its timeout a point may take, with all that is around it."""
_LOADED_AT_ONCE = 2


def run_shared(
    sweep: Sweep,
    store: RecordStore,
    observer: Observer,
    *,
    machine: Machine | None = None,
    retry: bool = False,
    measure: Measure | None = None,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Measures what neither the file has nor another worker, until all of the sweep is measured.

    Args:
        machine, retry, measure: as of ``run_sweep``.
        poll_seconds: how often to look, while others are at what is left.

    Raises:
        BadInput: the file or the folder beside it cannot be read or written.
    """
    lease_seconds = sweep.protocol.timeout_seconds + _LEASE_MORE_SECONDS
    claims = Claims(folder_of(store.path), lease_seconds)
    points = sweep.in_order()
    again = outcomes_again(retry=retry)
    before = {
        key: record
        for key, record in store.read().latest().items()
        if record.measured.outcome in again
    }
    claims.open()

    def measured() -> dict[str, Record]:
        """All records; the folder is read first: once it is gone, the file has them all."""
        handed_in = [store.parse_line(line) for line in claims.records()]
        there = store.read().latest()
        kept = {key: record for key, record in there.items() if before.get(key) != record}
        return kept | {record.key: record for record in handed_in}

    def write(lines: list[str]) -> None:
        there = store.read().records
        found = sorted((store.parse_line(line) for line in lines), key=lambda it: it.measured_at)
        for record in found:
            if record not in there:
                store.append(record)

    with suppress(Finished):
        known = measured()
        todo = [point for point in points if point.key not in known]
        observer.begin(todo, len(points) - len(todo))
        on_gpu = sum(point.device == "cuda" for point in todo)
        with Preloaded(on_gpu, _LOADED_AT_ONCE) as ready:
            ask = measure or in_child(ready)
            while todo:
                if not _measure_one(todo, known, claims, sweep, observer, machine, ask):
                    wait(poll_seconds)
                known = measured()
                todo = [point for point in points if point.key not in known]
        while not claims.finish(write):
            wait(poll_seconds)


def _measure_one(
    todo: list[Point],
    known: dict[str, Record],
    claims: Claims,
    sweep: Sweep,
    observer: Observer,
    machine: Machine | None,
    measure: Measure,
) -> bool:
    """Takes a point and measures it; False where others have all that is left."""
    with ExitStack() as held:
        for device in sorted({point.device for point in todo}):
            held.enter_context(sole_user(device, patient=True))
        for point in todo:
            claim = claims.take(point.key)
            if claim is not None:
                break
        else:
            return False
        observer.point(point)
        record = record_point(point, known.values(), sweep.protocol, observer, machine, measure)
        if claims.commit(claim, record.to_line()):
            observer.record(record)
        return True
