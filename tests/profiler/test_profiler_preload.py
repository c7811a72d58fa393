"""Children that load side by side: nothing loads while something is measured, none is left.

One that loads the real libraries is in test_profiler_spawn.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rmtscale.profiler.preload import Preloaded
from rmtscale.records.mapping import to_mapping
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from tests.profiler.test_profiler_spawn import alive, wait_until

QUICK = Protocol(warmup_steps=1, repeats=3, timeout_seconds=20)


def command(log: Path, answer: str) -> list[str]:
    """A child that notes when it has loaded and when it measures."""
    code = f"""
import json, os, sys, time
def note(what):
    with open({str(log)!r}, "a") as file:
        file.write(what + " " + str(os.getpid()) + "\\n")
time.sleep(0.2)
note("loaded")
print('{{"stage": "loaded"}}', flush=True)
json.load(sys.stdin)
note("measures")
print('{{"stage": "start"}}'); print({answer!r}, flush=True)
"""
    return [sys.executable, "-c", code]


def notes(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()]


def test_all_load_before_one_measures_and_each_measures_once(
    tmp_path: Path, point: Callable[..., Point], record: Callable[..., Record]
) -> None:
    log, stages = tmp_path / "log", list[str]()
    answer = json.dumps({"measured": to_mapping(record().measured)})
    with Preloaded(5, at_once=3, command=command(log, answer)) as ready:
        for _ in range(5):
            assert ready.measure(point(), QUICK, stages.append).outcome == "ok"
    assert [what for what, _ in notes(log)] == (
        ["loaded"] * 3 + ["measures"] * 3 + ["loaded"] * 2 + ["measures"] * 2
    )
    assert len({pid for _, pid in notes(log)}) == 5
    assert stages == ["start"] * 5


def test_the_idle_ones_are_ended(
    tmp_path: Path, point: Callable[..., Point], record: Callable[..., Record]
) -> None:
    log = tmp_path / "log"
    answer = json.dumps({"measured": to_mapping(record().measured)})

    def interrupted() -> None:
        with Preloaded(3, at_once=3, command=command(log, answer)) as ready:
            ready.measure(point(), QUICK, lambda _: None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    pids = {int(pid) for _, pid in notes(log)}
    assert len(pids) == 3
    assert wait_until(lambda: not any(map(alive, pids)))


def test_one_that_dies_while_it_loads_is_a_row(point: Callable[..., Point]) -> None:
    dies = [sys.executable, "-c", "raise SystemExit('no such library')"]
    with Preloaded(1, command=dies) as ready:
        found = ready.measure(point(), QUICK, lambda _: None)
    assert found.outcome == "crashed"
    assert found.error == "ended with exit code 1 and no answer: no such library"
