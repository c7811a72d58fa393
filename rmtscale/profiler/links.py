"""Links between the GPUs of this machine, measured by one process on each of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from rmtscale.costs.time.measured import MeasuredCollective, from_line
from rmtscale.errors import BadInput
from rmtscale.processes import PYTHON, Process, start, stop_all

_LONGEST_SECONDS = 120.0
_LOOK_SECONDS = 0.05


BENCH = (PYTHON, "-m", "rmtscale.profiler.link_bench")


def measure_links(
    ranks: int, device: str = "cuda", *, command: Sequence[str] = BENCH
) -> list[MeasuredCollective]:
    """Runs a bench on each of so many GPUs and returns what it measured.

    Raises:
        BadInput: a process that failed or hung; says its last line.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        noise = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(ranks)]
        running: list[Process] = []
        stack.callback(lambda: stop_all(running))
        for rank in range(ranks):
            words = (str(folder / "meet"), str(rank), str(ranks), device)
            running.append(start((*command, *words), output=lines, errors=noise[rank]))
        ends = monotonic() + _LONGEST_SECONDS
        while any(one.poll() is None for one in running):
            failed = [rank for rank, one in enumerate(running) if one.poll()]
            if failed or monotonic() > ends:
                break
            sleep(_LOOK_SECONDS)
        codes = [one.poll() for one in running]
        for rank, code in enumerate(codes):
            if code:
                raise BadInput(
                    f"links of {ranks} GPUs: process {rank} ended with exit code {code}"
                    f"{_last_line(noise[rank])}, expected to measure"
                )
        if None in codes:
            raise BadInput(
                f"links of {ranks} GPUs: no end within {_LONGEST_SECONDS:g} s, expected under a "
                "minute"
            )
        lines.seek(0)
        found = [from_line(line) for line in lines.read().decode().splitlines()]
    return [one for one in found if isinstance(one, MeasuredCollective)]


def _last_line(noise: IO[bytes]) -> str:
    noise.seek(0)
    lines = [line for line in noise.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()}" if lines else ""
