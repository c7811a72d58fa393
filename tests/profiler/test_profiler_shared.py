"""One sweep by several workers: each point once, whoever is killed when; parts; SLURM's jobs."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.processes import Process, start, stop_all
from rmtscale.profiler.shared_sweep import run_shared
from rmtscale.profiler.sweep import Sweep, run_sweep
from rmtscale.profiler.worker import Said, request_of
from rmtscale.profiler.workers import Where, local_workers, parse_where, slurm_workers, watch
from rmtscale.records.claims import Claims, folder_of
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from rmtscale.records.store import RecordStore
from tests.profiler.shared_worker import sweep_of
from tests.synthetic.cpu import cpu_point, cpu_record

ROOT = Path(__file__).parents[2]
WORKER = (sys.executable, "-m", "tests.profiler.shared_worker")
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
MEASURED = cpu_record().measured
RUNS = [(3, 16, 2, 0)]
if THOROUGH:
    RUNS += product((2, 4, 8), (40,), (0, 5), range(3))


@pytest.fixture(autouse=True)
def _found_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Watcher(Said):
    """Notes what is told of."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.done_before = -1

    def begin(self, todo: Sequence[Point], done: int) -> None:
        super().begin(todo, done)
        self.done_before = done

    def record(self, record: Record) -> None:
        self.records.append(record)


def worker(out: Path, points: int, longest: float, log: Path) -> Process:
    with log.open("ab") as file:
        command = (*WORKER, str(out), str(points), str(longest))
        return start(command, output=file, errors=file)


def require_each_once(out: Path, points: int) -> None:
    reading = RecordStore(out).read()
    assert reading.warnings() == []
    counts = Counter(record.key for record in reading.records)
    assert counts == Counter(point.key for point in sweep_of(points).points)
    assert not folder_of(out).exists()
    assert [path.name for path in out.parent.glob("*.claims*")] == []


@pytest.mark.parametrize(("workers", "points", "kills", "seed"), RUNS)
def test_exactly_one_record_a_point_whoever_is_killed(
    workers: int, points: int, kills: int, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    out, log = tmp_path / "x.jsonl", tmp_path / "log"
    running = [worker(out, points, 0.1, log) for _ in range(workers)]
    try:
        until = time.monotonic() + 120
        while not list(folder_of(out).glob("*.claim")) and time.monotonic() < until:
            time.sleep(0.02)
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 0.3))
            victim = chance.randrange(workers)
            running[victim].kill()
            running[victim].wait()
            running[victim] = worker(out, points, 0.1, log)
        codes = [one.wait(120) for one in running]
    finally:
        stop_all(running)
    assert codes == [0] * workers, log.read_text()
    require_each_once(out, points)


class Fake:
    """Measures nothing; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Point] = []

    def __call__(self, point: Point, _: Protocol, __: object) -> Measurement:
        self.asked.append(point)
        return MEASURED


def test_it_goes_on_with_what_workers_left(tmp_path: Path) -> None:
    sweep, store = sweep_of(5), RecordStore(tmp_path / "x.jsonl")
    run_sweep(Sweep(points=sweep.points[:1]), store, Watcher(), measure=Fake())
    claims = Claims(folder_of(store.path), 100)
    claims.open()
    line = cpu_record(point=sweep.points[1]).to_line()
    claim = claims.take(sweep.points[1].key)
    assert claim is not None
    claims.commit(claim, line)
    fake, watcher = Fake(), Watcher()
    run_shared(sweep, store, watcher, measure=fake, poll_seconds=0.01)
    assert {point.key for point in fake.asked} == {point.key for point in sweep.points[2:]}
    assert (watcher.done_before, len(watcher.records)) == (2, 3)
    require_each_once(store.path, 5)
    run_shared(sweep, store, watcher, measure=fake, poll_seconds=0.01)
    assert len(fake.asked) == 3
    require_each_once(store.path, 5)


def test_retry_measures_again_what_crashed_and_only_once(tmp_path: Path) -> None:
    sweep, store = sweep_of(3), RecordStore(tmp_path / "x.jsonl")
    crashed = Measurement(outcome="crashed", error="x", environment=MEASURED.environment)
    run_sweep(sweep, store, Watcher(), measure=lambda *_: crashed)
    fake = Fake()
    run_shared(sweep, store, Watcher(), measure=fake, poll_seconds=0.01)
    assert fake.asked == []
    run_shared(sweep, store, Watcher(), measure=fake, retry=True, poll_seconds=0.01)
    assert len(fake.asked) == 3
    latest = store.read().latest().values()
    assert {one.measured.outcome for one in latest} == {"ok"}


def test_local_workers_are_watched(tmp_path: Path) -> None:
    sweep, store, watcher = sweep_of(4), RecordStore(tmp_path / "x.jsonl"), Watcher()
    command = (*WORKER, str(store.path), "4", "0.05")
    with local_workers(2, "", gpus=False, command=command) as ended:
        watch(sweep, store, watcher, ended, retry=False)
    assert Counter(one.key for one in watcher.records) == Counter(one.key for one in sweep.points)
    require_each_once(store.path, 4)


def test_the_last_worker_may_remove_the_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All records are in the file before the claims are gone, and leaving ends the workers."""
    sweep, store = sweep_of(2), RecordStore(tmp_path / "x.jsonl")
    for point in sweep.points:
        store.append(cpu_record(point=point))
    renamed = tmp_path / "x.jsonl.claims.0"  # as the last step makes it
    renamed.mkdir()
    looks = []

    def ended() -> list[str] | None:
        looks.append(renamed.is_dir())
        if len(looks) == 4:
            renamed.rmdir()
        return None

    watch(sweep, store, Watcher(), ended, retry=False)
    assert looks == [True] * 4
    renamed.mkdir()
    watch(sweep, store, Watcher(), lambda: [], retry=False)  # nobody is left to remove it
    monkeypatch.setattr("rmtscale.profiler.workers._CLEARING_SECONDS", 0.1)
    watch(sweep, store, Watcher(), lambda: None, retry=False)  # it has been hung for too long


def test_workers_that_all_fail_are_one_line(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "x.jsonl")
    command = (sys.executable, "-c", "raise SystemExit('no such thing')")
    with (
        local_workers(2, "", gpus=False, command=command) as ended,
        pytest.raises(BadInput, match="4 of 4 points were not measured, all workers ended: no s"),
    ):
        watch(sweep_of(4), store, Watcher(), ended, retry=False)


FAKE_SBATCH = """#!/bin/sh
# Runs the tasks of an array one after another, in the background, as a cluster would.
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_PROCID=0 SLURM_LOCALID=0
(for task in $(seq 0 "$last"); do
   SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=77 sh "$1"
done) </dev/null >/dev/null 2>&1 &
echo "Submitted batch job 77"
"""
FAKE_SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do
  case "$1" in --unbuffered) shift ;; *) shift 2 ;; esac
done
exec "$@"
"""


def test_jobs_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", FAKE_SBATCH), ("srun", FAKE_SRUN), ("sacct", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    # Points that no machine holds are skipped, and each of them is a record all the same.
    points = tuple(cpu_point(tokens=tokens, memory_limit_bytes=1) for tokens in (16, 32, 48))
    sweep, store, watcher = Sweep(points=points), RecordStore(tmp_path / "x.jsonl"), Watcher()
    request = request_of(sweep, store.path, None, retry=False)
    settings = {"partition": "gpu", "time": "30"}
    with slurm_workers(2, request, tmp_path / "jobs", settings) as ended:
        watch(sweep, store, watcher, ended, retry=False)
    assert {one.measured.outcome for one in watcher.records} == {"skipped"}
    assert len(store.read().records) == 3
    script = next((tmp_path / "jobs").glob("*_submission.sh")).read_text()
    assert "--partition=gpu" in script
    assert "--time=30" in script
    with (
        pytest.raises(BadInput, match="slurm settings nonsense: expected submitit's"),
        slurm_workers(1, request, tmp_path / "jobs", {"nonsense": "1"}),
    ):
        pass


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(BadInput, match="there is no srun here"),
        slurm_workers(1, "", tmp_path, {}),
    ):
        pass


def test_where_workers_run() -> None:
    assert parse_where("local:4") == Where("local", 4)
    assert parse_where("SLURM:16") == Where("slurm", 16)
    assert parse_where("slurm") == Where("slurm", 1)
    for text in ("", "local:0", "local:65", "pbs:2", "slurm:x", "local:-1"):
        with pytest.raises(BadInput, match="expected local:4 or slurm:16"):
            parse_where(text)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_are_the_sweep(parts: int) -> None:
    sweep = sweep_of(6).with_pair()
    found = [sweep.part(number, parts) for number in range(1, parts + 1)]
    keys = Counter(point.key for part in found for point in part.points)
    assert keys == Counter(point.key for point in sweep.points)
    assert sweep.most_parts == 6
    assert all(part.points for part in found)
    pair = {point.tokens for point in sweep.points if point.replicate}
    together = [part for part in found if any(point.replicate for point in part.points)]
    assert len(together) == 1, "both halves of the A/A pair are measured on one machine"
    assert sum(point.tokens in pair for point in together[0].points) == 2
