"""``rmtscale profile`` as somebody who types it sees it."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rmtscale.cli import progress
from rmtscale.cli.main import main
from rmtscale.profiler import spawn
from rmtscale.profiler import sweep as sweep_module
from rmtscale.records.claims import folder_of
from rmtscale.records.environment import host_environment
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from tests.command_line import Command
from tests.forked import Started, fork

GRID = [
    *("profile", "--model", "pythia-14m", "--methods", "full,rmt", "--tokens", "512,1024"),
    *("--segment-size", "256", "--memory-tokens", "2", "--device", "cpu"),
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "records.jsonl"


@pytest.fixture
def faked(record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """Points that were asked for; full attention beyond 512 tokens runs out of memory."""
    asked: list[Point] = []

    def measure(point: Point, *_: object, **__: object) -> Measurement:
        asked.append(point)
        if point.method == "full" and point.tokens > 512:
            return Measurement(
                outcome="oom",
                error="OutOfMemoryError: no room",
                stage="warm-up",
                environment=host_environment(),
            )
        return record(unknown={"energy_joules": "no NVIDIA driver"}).measured

    monkeypatch.setattr(sweep_module, "measure_in_child", measure)
    return asked


def test_parts_and_shared_workers_measure_each_point_once(
    rmtscale: Command, faked: list[Point], out: Path
) -> None:
    for part in ("1/2", "2/2"):
        done = rmtscale(*GRID, "--part", part, "--out", f"{out}.{part[0]}")
        assert done.code == 0
    assert len(faked) == len({point.key for point in faked}) == 5
    done = rmtscale(*GRID, "--shared", "--out", str(out))
    assert done.code == 0
    assert len(faked) == 10
    assert len(RecordStore(out).read().records) == 5
    folder_of(out).mkdir()  # workers that were killed left it; any later run goes on in it
    assert rmtscale(*GRID, "--out", str(out)).code == 0
    assert (len(faked), folder_of(out).exists()) == (10, False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--part 3/2", "part '3/2': expected such as 2/8, up to 4 parts"),
        ("--part 1/5", "part '1/5': expected such as 2/8, up to 4 parts"),
        ("--part x", "part 'x': expected such as 2/8"),
        ("--on pbs:4", "on 'pbs:4': expected local:4 or slurm:16"),
        ("--on local:2 --shared", "--shared with --on 'local:2': expected one of them"),
        ("--on local:2 --part 1/2", "--part '1/2' with --on 'local:2': expected one of them"),
        ("--shared --force", "--force with --shared: expected a new --out"),
        ("--slurm time=5", "--slurm 'time=5': expected with --on slurm"),
        ("--on slurm:2 --slurm gpu", "slurm 'gpu': expected KEY=VALUE"),
    ],
)
def test_workers_that_cannot_be(rmtscale: Command, out: Path, more: str, said: str) -> None:
    done = rmtscale(*GRID, "--out", str(out), *more.split())
    assert (done.code, said in done.err) == (2, True)
    assert done.err.count("\n") == 1
    assert not out.exists()


def test_measured_beside_predicted(rmtscale: Command, faked: list[Point], out: Path) -> None:
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 0
    assert len(faked) == 5  # four points, one of them twice
    lines = done.out.splitlines()
    assert lines.pop() == f"5 records in {out}"
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "pythia-14m, full attention: forward, bf16, sdpa" in lines
    rows = {line.split()[0]: line.split() for line in lines if line.strip().startswith("512")}
    assert rows["512"][1:3] == ["20.0", "ms"]
    assert any(line.split()[:2] == ["1,024", "oom"] for line in lines)
    words = " ".join(done.out.split())
    assert "1,024 tokens: oom in warm-up: OutOfMemoryError: no room" in words
    assert "A/A: pythia-14m" in words
    assert "Not known: energy_joules (no NVIDIA driver)." in words
    assert "resident memory of the process" in words
    assert done.err.count("\n") == 5
    assert re.match(r"\[1/5\] [0-9,]+ tokens(, once more)?, pythia-14m, ", done.err)


def test_it_goes_on_and_force_begins_anew(rmtscale: Command, faked: list[Point], out: Path) -> None:
    rmtscale(*GRID, "--out", str(out))
    first = out.read_bytes()
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 0
    assert out.read_bytes() == first
    assert "5 of 5 points are in the file already: going on" in done.err
    longer = [argument.replace("512,1024", "512,1024,2048") for argument in GRID]
    before = len(faked)
    rmtscale(*longer, "--out", str(out))
    assert out.read_bytes().startswith(first)
    assert "skipped" in {one.measured.outcome for one in RecordStore(out).read().records}
    assert {point.tokens for point in faked[before:]} <= {1024, 2048}
    rmtscale(*GRID, "--out", str(out), "--force")
    assert len(RecordStore(out).read().records) == 5


def test_json_and_csv(rmtscale: Command, faked: list[Point], out: Path) -> None:
    done = rmtscale(*GRID, "--out", str(out), "--format", "json")
    rows = json.loads(done.out)["rows"]
    assert len(rows) == 5
    ok = next(row for row in rows if row["outcome"] == "ok")
    assert ok["step_seconds"] == 0.02
    assert ok["peak_bytes"] == 1000
    assert ok["predicted_flops"] > 10**9
    oom = next(row for row in rows if row["outcome"] == "oom")
    assert oom["step_seconds"] is oom["peak_bytes"] is None
    done = rmtscale(*GRID, "--out", str(out), "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(done.out)))) == 5


def test_dry_run_measures_nothing(rmtscale: Command, faked: list[Point], out: Path) -> None:
    line = "profile --preset figure-10 --predict-for a100-80gb --dry-run"
    done = rmtscale(*line.split(), "--out", str(out))
    assert (done.code, done.err, faked) == (0, "", [])
    assert not out.parent.exists()
    assert max(len(text.rstrip()) for text in done.out.splitlines()) <= 80
    fits = {
        tuple(row.split()[:: len(row.split()) - 1])
        for row in done.out.splitlines()
        if row.endswith((" yes", " no"))
    }
    assert ("8,000", "no") in fits
    assert ("7,000", "no") not in fits
    rows = json.loads(rmtscale(*line.split(), "--format", "json").out)["rows"]
    assert len(rows) == 25
    assert [row["fits"] for row in rows].count(False) == 1
    assert rows[0]["predicted"]["device"] == "a100-80gb"


def test_dry_run_without_a_device(rmtscale: Command) -> None:
    done = rmtscale(*GRID, "--dry-run")
    assert done.code == 0
    assert "No time is predicted: no roofline of a CPU." in done.out


def test_crashes_are_exit_code_1_and_retried(
    rmtscale: Command,
    record: Callable[..., Record],
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
) -> None:
    crash = Measurement(outcome="crashed", error="killed", environment=host_environment())
    monkeypatch.setattr(sweep_module, "measure_in_child", lambda *_, **__: crash)
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last == "error: 5 of 5 points crashed or ran out of time; --retry measures them again"
    monkeypatch.setattr(sweep_module, "measure_in_child", lambda *_, **__: record().measured)
    assert rmtscale(*GRID, "--out", str(out)).code == 1
    assert rmtscale(*GRID, "--out", str(out), "--retry").code == 0


def test_a_damaged_file_is_a_warning_that_counts(
    rmtscale: Command, faked: list[Point], out: Path
) -> None:
    rmtscale(*GRID, "--out", str(out))
    with out.open("a") as file:
        file.write("broken\nalso broken\n{torn")
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 0
    assert f"warning: {out}: skipped 2 damaged lines, the first is 6\n" in done.err
    assert f"warning: {out}: skipped 1 torn line at the end\n" in done.err


def test_a_file_that_holds_something_else(
    rmtscale: Command, faked: list[Point], tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("my notes\n")
    done = rmtscale(*GRID, "--out", str(other))
    assert done.code == 2
    assert "is there and holds no records, expected --force to overwrite" in done.err
    assert other.read_text() == "my notes\n"
    assert faked == []


def test_records_of_another_machine(rmtscale: Command, faked: list[Point], out: Path) -> None:
    rmtscale(*GRID, "--out", str(out))
    here = json.dumps(host_environment().processor)
    out.write_text(out.read_text().replace(here, '"Abacus"'))
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 2
    assert "holds records of Abacus, expected another file for" in done.err


def test_another_schema_version(rmtscale: Command, faked: list[Point], out: Path) -> None:
    rmtscale(*GRID, "--out", str(out))
    out.write_text(out.read_text().replace('{"schema_version":1', '{"schema_version":7', 1))
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 2
    assert "line 1: schema version 7: expected 1" in done.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "nothing to measure: expected --model, --preset or a sweep file"),
        ("none.toml", "sweep 'none.toml': cannot be read"),
        ("none.toml --preset figure-10", "expected one of them"),
        ("--preset figure-3", "preset 'figure-3': expected one of figure-10"),
        ("-m gpt2", "grid without tokens"),
        ("-m gpt2 --tokens 512 --device cpu", "no --out: expected a file for the records"),
        ("-m gpt2 --tokens 512 --methods lstm", "method 'lstm': expected one of full, rmt"),
        ("-m gpt2 --tokens 512 --device tpu", "device 'tpu': expected one of cuda, cpu"),
        ("-m gpt2 --tokens 512 --memory-limit 80", "memory limit '80': expected a size with its"),
        ("-m gpt2 --tokens 512 --repeats 0", "repeats 0: expected more than 0"),
        ("-m gpt2 --tokens 512 --order down", "order 'down': expected one of random, short-first"),
        ("-m gpt2 --tokens 512 --predict-for h300 --dry-run", "device 'h300'"),
    ],
)
def test_bad_input(
    rmtscale: Command,
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale("profile", *line.split())
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there(
    rmtscale: Command, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = rmtscale("profile", "-m", "gpt2", "--tokens", "9", "--device", "cuda", "-o", str(out))
    assert done.code == 2
    assert "device 'cuda': CUDA_VISIBLE_DEVICES hides every GPU; expected --device cpu" in done.err
    assert not out.exists()


def test_a_missing_library(rmtscale: Command, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = rmtscale(*GRID, "--out", str(out))
    assert done.code == 2
    assert "profile needs torch: pip install 'rmtscale[measure]'" in done.err


def test_on_a_terminal(record: Callable[..., Record], point: Callable[..., Point]) -> None:
    """The live table: what is done, what is in hand, a bar and the time left."""
    from rich.console import Console

    table = progress.LiveTable()
    points = [point(tokens=tokens) for tokens in (512, 1024)]
    table.begin(points, 1)
    table.point(points[0])
    table.record(record())
    table.point(points[1])
    table.stage("warm-up")
    screen = Console(width=100, file=io.StringIO(), record=True)
    screen.print(table.view())
    shown = screen.export_text()
    assert "1 points are in the file already" in shown
    assert "20.0 ms, 1000 B (predicted 900 B)" in shown
    assert "warm-up" in shown
    assert "1/2  about" in shown


def profile_in_copies(log: Path, line: list[str]) -> None:
    """The command, whose children are copies of it too: they load nothing again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pytest.MonkeyPatch().setattr(spawn, "start", Started)
    with log.open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        main(line)


def test_ctrl_c(out: Path) -> None:
    """The real thing, interrupted: records are kept, no process is left, and it can go on."""
    line = [
        *("profile", "--model", "pythia-14m", "--methods", "full", "--tokens", "64,1024"),
        *("--mode", "train", "--device", "cpu", "--precision", "fp32", "--order", "short-first"),
        *("--repeats", "3", "--warmup-steps", "1", "--out", str(out)),
    ]
    log = out.parent.parent / "log"
    running = fork(profile_in_copies, log, line, parent=True)
    assert running.pid is not None
    try:
        # One is measured, the next is under way, and long: a fast machine must not end it first.
        store, deadline = RecordStore(out), time.monotonic() + 120
        while not store.read().records and time.monotonic() < deadline:
            time.sleep(0.02)
        children: list[psutil.Process] = []
        while not children and time.monotonic() < deadline:
            children = psutil.Process(running.pid).children(recursive=True)
        assert children
        time.sleep(0.2)  # Python drops what is raised in what it calls behind a fork.
        os.kill(running.pid, signal.SIGINT)
        running.join(20)
    finally:
        running.kill()
    assert running.exitcode == 130, log.read_text()
    assert log.read_text().splitlines()[-2:] == [
        f"what was measured is in {out}; the same command goes on from there",
        "error: interrupted",
    ]
    # What a child had started itself is reaped by the system, which may take a moment.
    _, left = psutil.wait_procs(children, timeout=10)
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
    reading = store.read()
    assert len(reading.records) == 1
    assert reading.warnings() == []
    assert {one.measured.outcome for one in reading.records} == {"ok"}
