"""One point measured by a fresh child process, whatever becomes of that process.

The child is the head of a process group of its own: a hung or interrupted one is killed with all
it started, and a Ctrl-C at the terminal reaches only the parent, which then cleans up.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import IO

from rmtscale.processes import PIPE, PYTHON, Process, TimedOut, kill_group, start
from rmtscale.profiler.child import LOADED
from rmtscale.profiler.ranks import Place
from rmtscale.records.environment import host_environment
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.records.measurement import Measurement, Outcome
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol

CHILD = (PYTHON, "-m", "rmtscale.profiler.child")
_EXIT_SECONDS = 10.0
_TAIL_BYTES = 2000


def measure_in_child(
    point: Point,
    protocol: Protocol,
    *,
    command: Sequence[str] = CHILD,
    report: Callable[[str], None] = lambda _stage: None,
    sample: bool = True,
) -> Measurement:
    """Starts ``command``, hands it the point and waits for its answer; see ``Child.measure``."""
    with Child(point.device, command) as child:
        return child.measure(point, protocol, report=report, sample=sample)


class Child:
    """A process that measures one point. Leaving its ``with`` block ends it, whatever it does."""

    def __init__(self, device: str, command: Sequence[str] = CHILD) -> None:
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the child is ended)
        self._process = start(
            command,
            input=PIPE,
            output=PIPE,
            errors=self._noise,
            environment={**_environment(device), **os.environ},
            group=True,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kills the process and all it started."""
        kill_group(self._process)
        self._noise.close()

    def kill(self) -> None:
        """Kills the process and all it started, while another thread may wait for its answer."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait_loaded(self, timeout_seconds: float) -> None:
        """Waits for a child that was told to load its libraries first.

        One that dies or hangs over it says so when it is to measure.
        """
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            selector.select(timeout_seconds)

    def measure(
        self,
        point: Point,
        protocol: Protocol,
        *,
        report: Callable[[str], None] = lambda _stage: None,
        sample: bool = True,
        place: Place | None = None,
    ) -> Measurement:
        """Hands the point over and waits for the answer.

        A child that crashes, is killed, says nothing usable or takes longer than
        ``protocol.timeout_seconds`` is a measurement with that outcome. No process is left
        behind, also when this is interrupted.

        Args:
            report: is told the stage the child is in.
            sample: read the process's memory during the step, in a thread.
            place: of the child among those that share the point.
        """
        request = {"point": to_mapping(point), "protocol": to_mapping(protocol), "sample": sample}
        request["place"] = None if place is None else to_mapping(place)
        conversation = _Conversation(self._process, report, self._noise, protocol.timeout_seconds)
        return conversation.run(request)


def _environment(device: str) -> dict[str, str]:
    """Settings of the child, where the user has none of their own."""
    if device == "cpu":
        # Threads that wait for each other sleep and do not spin: where something else runs on the
        # machine, a spinning thread keeps the very one from running that it waits for, and a step
        # takes ten times as long.
        return {"OMP_WAIT_POLICY": "PASSIVE"}
    # CUDA's device 0 has to be the driver's first one: both in the order of the bus.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class _Conversation:
    def __init__(
        self,
        process: Process,
        report: Callable[[str], None],
        noise: IO[bytes],
        timeout_seconds: float,
    ) -> None:
        self.process, self.report, self.noise = process, report, noise
        self.timeout_seconds = timeout_seconds
        self.deadline = monotonic() + timeout_seconds
        self.stage = "start"

    def run(self, request: dict[str, object]) -> Measurement:
        answer: object = None
        try:
            assert self.process.stdin is not None
            with suppress(BrokenPipeError):  # it is gone already: its exit says how
                self.process.stdin.write(json.dumps(request).encode())
                self.process.stdin.close()
            for line in self._lines():
                try:
                    message = json.loads(line)
                except ValueError:
                    return self._failed("crashed", f"said {line[:80]!r}, expected JSON")
                if message.get("stage", LOADED) != LOADED:
                    self.stage = str(message["stage"])
                    self.report(self.stage)
                answer = message.get("measured", answer)
            self.process.wait(max(0.0, self.deadline - monotonic()) + _EXIT_SECONDS)
        except (TimeoutError, TimedOut):
            if answer is None:
                return self._failed("timeout", f"no answer within {self.timeout_seconds:g} s")
        if answer is None:
            return self._failed("crashed", self._last_words())
        try:
            return from_mapping(Measurement, answer)
        except Misfit as error:
            return self._failed("crashed", f"an answer that is none: {error}")

    def _lines(self) -> Iterator[bytes]:
        """Lines of the child's standard output until its end.

        Raises:
            TimeoutError: the deadline passed.
        """
        stream = self.process.stdout
        assert stream is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                left = self.deadline - monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                chunk = os.read(stream.fileno(), 65536)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines

    def _last_words(self) -> str:
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (the system kills what takes too much memory)" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        self.noise.seek(0, os.SEEK_END)
        self.noise.seek(max(0, self.noise.tell() - _TAIL_BYTES))
        lines = [line for line in self.noise.read().decode(errors="replace").splitlines() if line]
        last = f": {lines[-1].strip()}" if lines else ""
        return f"ended with exit code {code} and no answer{last}"

    def _failed(self, outcome: Outcome, error: str) -> Measurement:
        return Measurement(
            outcome=outcome, error=error, stage=self.stage, environment=host_environment()
        )
