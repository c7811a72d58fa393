"""Whatever becomes of a child process: there is a row, and no process is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rmtscale.profiler.measure import measure
from rmtscale.profiler.preload import Preloaded
from rmtscale.profiler.spawn import measure_in_child
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from tests.forked import fork
from tests.yardstick import counting_slowness

QUICK = Protocol(warmup_steps=1, repeats=3)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Running, and not only waiting to be collected by whoever inherited it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_killed_child(point: Callable[..., Point]) -> None:
    code = 'import os, signal; print(\'{"stage": "timing"}\', flush=True); os.kill(os.getpid(), 9)'
    found = measure_in_child(point(), QUICK, command=python(code))
    assert (found.outcome, found.stage) == ("crashed", "timing")
    assert found.error is not None
    assert found.error.startswith("killed by SIGKILL (the system kills what takes too much")


def test_a_hung_child_and_what_it_started(point: Callable[..., Point], tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pid")!r}, "w").write(str(other.pid))
print('{{"stage": "warm-up"}}', flush=True)
time.sleep(600)
"""
    begun = time.monotonic()
    found = measure_in_child(point(), Protocol(timeout_seconds=2), command=python(code))
    assert time.monotonic() - begun < 8
    assert (found.outcome, found.stage) == ("timeout", "warm-up")
    assert found.error == "no answer within 2 s"
    assert wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("", "ended with exit code 0 and no answer"),
        ("raise SystemExit(3)", "ended with exit code 3 and no answer"),
        ("raise ValueError('a b')", "ended with exit code 1 and no answer: ValueError: a b"),
        ("print('hello')", "said b'hello', expected JSON"),
        ("print('{\"measured\": {}}')", "an answer that is none: outcome: missing"),
        ("import os; os.abort()", "killed by SIGABRT"),
    ],
)
def test_a_child_that_does_not_answer(code: str, error: str, point: Callable[..., Point]) -> None:
    found = measure_in_child(point(), QUICK, command=python(code))
    assert (found.outcome, found.error) == ("crashed", error)
    assert found.environment.processor_threads > 0


def test_settings_of_a_child(point: Callable[..., Point], monkeypatch: pytest.MonkeyPatch) -> None:
    ask = python("import os, sys; sys.exit(os.environ.get('OMP_WAIT_POLICY'))")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert measure_in_child(point(), QUICK, command=ask).error == (
        "ended with exit code 1 and no answer: PASSIVE"
    )
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert measure_in_child(point(), QUICK, command=ask).error == (
        "ended with exit code 1 and no answer: ACTIVE"
    )


def test_stages_and_answer(point: Callable[..., Point], record: Callable[..., Record]) -> None:
    measured = record().measured
    answer = json.dumps({"measured": to_mapping(measured)})
    code = f"""
import json, sys
request = json.load(sys.stdin)
assert request["point"]["tokens"] == 512 and request["protocol"]["repeats"] == 3
print("noise", file=sys.stderr)
print('{{"stage": "build"}}'); print('{{"stage": "timing"}}'); print({answer!r})
"""
    stages: list[str] = []
    found = measure_in_child(point(), QUICK, command=python(code), report=stages.append)
    assert found == measured
    assert stages == ["build", "timing"]


def test_an_answer_counts_although_the_child_then_hangs(
    point: Callable[..., Point], record: Callable[..., Record]
) -> None:
    answer = json.dumps({"measured": to_mapping(record().measured)})
    code = f"import time; print({answer!r}, flush=True); time.sleep(600)"
    found = measure_in_child(point(), Protocol(timeout_seconds=2), command=python(code))
    assert found.outcome == "ok"


def test_a_real_child(point: Callable[..., Point], tiny: Callable[[str], object]) -> None:
    stages: list[str] = []
    one = point(
        model=tiny("gpt2"),
        method="rmt",
        segment_size=32,
        memory_tokens=2,
        tokens=100,
        mode="train",
        optimizer="adamw",
    )
    with Preloaded(1) as ready:
        found = ready.measure(one, QUICK, stages.append)
    assert (found.outcome, found.error) == ("ok", None)
    assert found.stage_seconds["start"] < 2 * counting_slowness(), "the libraries were there"
    assert stages == ["start", "build", "warm-up", "memory", "timing", "ceiling"]
    assert list(found.stage_seconds) == stages
    assert found.wall_time is not None
    assert len(found.wall_time.seconds) == 3
    assert found.event_time is None
    assert found.unknown["event_time"] == found.unknown["energy_joules"] == "measured on the CPU"
    assert found.attention_kernel == "flash"
    assert found.matmul_ceiling_flops_per_second is not None
    assert found.matmul_ceiling_flops_per_second > 1e8
    memory = found.memory
    assert memory is not None
    assert memory.peak_allocated_bytes is memory.process_bytes is None
    assert memory.start_resident_bytes is not None
    assert memory.peak_resident_bytes is not None
    assert memory.peak_resident_bytes >= memory.start_resident_bytes > 10**7
    assert found.environment.torch_threads is not None
    assert found.environment.gpu is None
    # What is not a measured step, nor the start of the libraries and the model, takes no time.
    extra = sum(found.stage_seconds[stage] for stage in ("memory", "ceiling"))
    assert extra < 5


def measured_into(one: Point, out: Path) -> None:
    out.write_text(json.dumps(to_mapping(measure(one, QUICK))))


def test_a_process_runs_out_of_memory(point: Callable[..., Point], tmp_path: Path) -> None:
    """The limit is set for good: not in this one."""
    one = point(tokens=8192, mode="train", optimizer="adamw", memory_limit_bytes=400 * 2**20)
    process = fork(measured_into, one, tmp_path / "x")
    process.join(60)
    found = from_mapping(Measurement, json.loads((tmp_path / "x").read_text()))
    assert found.outcome == "oom", found.error
    assert found.stage in ("build", "warm-up")
    assert "memory" in (found.error or "")


def test_without_a_gpu(point: Callable[..., Point]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    found = measure(point(device="cuda"), QUICK)
    assert (found.outcome, found.stage) == ("crashed", "start")
    assert found.environment.gpu is found.environment.driver is None
    assert found.unknown["energy_joules"]


def test_a_child_does_not_outlive_its_parent(point: Callable[..., Point]) -> None:
    """The parent is killed and cannot clean up: the kernel ends the child."""
    code = f"""
import os, sys
from rmtscale.records.mapping import from_mapping
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol
from rmtscale.profiler import spawn
started = []
begin = spawn.start
def start(*a, **k):
    started.append(begin(*a, **k))
    return started[-1]
spawn.start = start
point = from_mapping(Point, {to_mapping(point(tokens=16384, mode="train", optimizer="adamw"))!r})
say = lambda stage: print(stage, started[0].pid, flush=True)
spawn.measure_in_child(point, Protocol(), report=say)
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stage, pid = parent.stdout.readline().split()
        assert stage == "start"
        assert alive(int(pid))
        os.kill(parent.pid, signal.SIGKILL)
        assert wait_until(lambda: not alive(int(pid)))
