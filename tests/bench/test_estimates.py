"""How long an answer takes: a whole process, and many estimates through the API.

The limits are those of a usual machine (``yardstick.py``), and hold for the best round: what runs
beside one only makes it longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.time_range import step_seconds
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.yardstick import best_seconds, counting_slowness, start_slowness


def test_flops_as_a_whole_process(benchmark: Any, tmp_path: Path) -> None:
    """``rmtscale flops --model opt-175b`` in under 0.20 s, its modules compiled as after a first
    use."""
    check_process(benchmark, tmp_path, ["flops", "--model", "opt-175b"], 0.20)


def check_process(benchmark: Any, tmp_path: Path, words: list[str], seconds: float) -> None:
    """Times a command, its modules compiled by a first one."""
    script = Path(sys.executable).with_name("rmtscale")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "rmtscale"]

    given = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    given["PYTHONPYCACHEPREFIX"] = str(tmp_path)

    def run() -> None:
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL, env=given)

    run()
    before = start_slowness()
    best = best_seconds(benchmark, run, seconds * before, rounds=5)
    assert best < seconds * max(before, start_slowness())


def test_estimate_as_a_whole_process(benchmark: Any, tmp_path: Path) -> None:
    """``rmtscale estimate`` of a training step, its time from its kernels, in under 0.30 s."""
    words = ["estimate", "-m", "gpt2", "-d", "h200", "--tokens", "16k", "--mode", "train"]
    check_process(benchmark, tmp_path, words, 0.30)


@pytest.mark.parametrize("name", ["gpt2", "llama-3.2-1b"])
def test_two_thousand_times(benchmark: Any, name: str) -> None:
    """2,000 times of training steps, full attention and RMT, each of another length, in a second
    of this process."""
    model, device = PRESETS[name], find_device("h200")
    offset = iter(range(10**6))

    def run() -> float:
        first = 600 + next(offset) * 1_000
        begun = process_time()
        for tokens in range(first, first + 1_000):
            work = Workload(tokens=tokens, mode="train")
            for recurrence in (None, Recurrence(512, 10)):
                assert step_seconds(model, work, device, recurrence).most_seconds > 0
        return process_time() - begun

    before = counting_slowness()
    seconds = benchmark.pedantic(run, rounds=1)
    assert seconds < 1.0 * max(before, counting_slowness())


def test_ten_thousand_comparisons(benchmark: Any) -> None:
    """10,000 estimates of full against RMT, each of another length, in under 1 s."""
    model, recurrence = PRESETS["opt-175b"], Recurrence(512, 10)
    offset = iter(range(10**6))

    def run() -> int:
        first = 512 + next(offset) * 10_000  # new lengths each round: no answer is remembered
        total = 0
        for tokens in range(first, first + 10_000):
            work = Workload(tokens=tokens)
            total += estimate_flops(model, work).total
            total += estimate_flops(model, work, recurrence).total
        return total

    before = counting_slowness()
    best = best_seconds(benchmark, run, 1.0 * before, rounds=3)
    assert best < 1.0 * max(before, counting_slowness())


@pytest.mark.parametrize("method", ["full", "rmt", "armt", "mamba"])
def test_a_hundred_thousand_estimates_as_an_array(benchmark: Any, method: str) -> None:
    """FLOPs, state and activations at 100,000 lengths in under 1 s on one core."""
    import numpy as np

    model, lengths = PRESETS["opt-175b"], np.arange(512, 512 + 20 * 100_000, 20)

    last: list[int] = []

    def run() -> None:
        last[:] = [int(estimate_method(model, lengths, method).flops[-1])]

    before = counting_slowness()
    best = best_seconds(benchmark, run, 1.0 * before, rounds=3)
    assert best < 1.0 * max(before, counting_slowness())
    assert last == [estimate_method(model, 2_000_492, method).flops]


def test_a_thousand_memory_estimates(benchmark: Any) -> None:
    """1,000 training steps of an RMT in under 0.1 s: a plan asks for hundreds of lengths."""
    recurrence = Recurrence(512, 10)
    offset = iter(range(10**6))

    def run() -> int:
        first = 32_000 + next(offset) * 1_000
        return sum(
            estimate_memory(
                PRESETS["gpt2"], Workload(tokens=tokens, mode="train"), recurrence
            ).total
            for tokens in range(first, first + 1_000)
        )

    before = counting_slowness()
    best = best_seconds(benchmark, run, 0.1 * before, rounds=5)
    assert best < 0.1 * max(before, counting_slowness())
