"""Starts every process of the package: none outlives the one that started it.

A child written in Python calls ``follow_parent`` first; the kernel then kills it when its parent
goes, however that goes (Linux). Processes are spawned, never forked: a fork keeps open what the
parent had open, and copies locks that its threads hold.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    Answer = Future
    """A worker's answer, which may still be to come."""

Process = subprocess.Popen[bytes]
TimedOut = subprocess.TimeoutExpired
PIPE = subprocess.PIPE
PYTHON = sys.executable

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals by which a system asks a process to end."""
_PARENT = "RMTSCALE_PARENT"
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 10.0
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def start(
    command: Sequence[str],
    *,
    output: int | IO[bytes],
    errors: int | IO[bytes],
    input: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    group: bool = False,
) -> Process:
    """Starts a Python process that follows this one.

    Args:
        command: what to run; it calls ``follow_parent``.
        output, errors: where its standard output and standard error go.
        input: where its standard input comes from; nothing by default.
        environment: in the place of this process's.
        group: make it the head of a process group, which ``kill_group`` ends as a whole.
    """
    whole = os.environ if environment is None else environment
    return subprocess.Popen(
        command,
        stdin=input,
        stdout=output,
        stderr=errors,
        env={**whole, _PARENT: str(os.getpid())},
        start_new_session=group,
    )


def ask(command: Sequence[str], timeout_seconds: float) -> str | None:
    """Runs a short command to its end.

    Returns:
        What it printed; None where it cannot be run, fails or takes longer than the timeout.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_seconds,
            env={**os.environ, _PARENT: str(os.getpid())},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def stop_all(processes: Iterable[Process]) -> None:
    """Asks processes to stop, waits for all of them, and kills those that do not."""
    running = list(processes)
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_group(process: Process) -> None:
    """Kills a process that heads a group and everything it started, and waits for it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


@contextmanager
def pool(
    workers: int, prepare: Callable[..., None], given: tuple[object, ...]
) -> Iterator[ProcessPoolExecutor]:
    """Yields processes to which work is handed out; an error or interrupt kills them at once.

    Args:
        workers: how many.
        prepare: is called in each of them first.
        given: its arguments.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(), prepare, given),
    )
    try:
        # An interrupt in the middle of a start would leave a worker that nobody knows of.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            for _ in range(workers):
                executor.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield executor
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _begin_worker(parent: int, prepare: Callable[..., None], given: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's, which ends this one
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    _die_with(parent)
    prepare(*given)


@contextmanager
def handled(
    signals: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Lets ``handler`` take signals meanwhile; in another thread than the first none are told."""
    before = {}
    try:
        for number in signals:
            before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread, which alone is told of signals
        pass
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def follow_parent() -> None:
    """Lets this process die with the one that started it by ``start`` or ``ask``, if one did."""
    parent = os.environ.pop(_PARENT, "")
    if parent.isdecimal():
        _die_with(int(parent))


def _die_with(parent: int) -> None:
    """Linux: the kernel kills this process when its parent goes, however that goes."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the kernel was asked
        os._exit(1)
