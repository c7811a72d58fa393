"""Processes that begin as copies of this one: they import nothing again, which takes 10 seconds.

For tests of what happens in a process, or between several. How a process is started, and what it
loads, is tested where a real one is.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from accelerate.state import AcceleratorState

TIMEOUT_SECONDS = 180.0
NO_GPUS = {"CUDA_VISIBLE_DEVICES": ""}
# Asked whether there is a GPU, torch looks without using one, so that copies can.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def fork(function: Callable[..., object], *given: Any, parent: bool = False) -> BaseProcess:
    """Runs ``function(*given)`` in another process, which may be a parent itself.

    Where a GPU is in use here a copy could not run backward: there it is started anew.
    """
    cuda: Any = torch.cuda
    context: Any = multiprocessing.get_context("spawn" if cuda.is_initialized() else "fork")
    process: BaseProcess = context.Process(target=function, args=given, daemon=not parent)
    process.start()
    return process


def alone(folder: Path, function: Callable[..., object], *given: Any) -> None:
    """Runs ``function(*given)`` in another process, which sees all GPUs.

    Args:
        folder: gets what it says, as ``rank-0.log``.
    """
    process = fork(_rank, {"RANK": "0"}, folder, function, given)
    process.join(TIMEOUT_SECONDS)
    process.kill()
    assert process.exitcode == 0, (folder / "rank-0.log").read_text()[-3000:]


def as_ranks(
    count: int, folder: Path, function: Callable[..., object], *given: Any, gpus: bool = False
) -> None:
    """Runs ``function(*given)`` in so many processes, with the variables that torchrun sets.

    Args:
        folder: gets what each of them says, as ``rank-0.log``.
        gpus: whether they see any.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        **({} if gpus else NO_GPUS),
    }
    ranks = [
        fork(_rank, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, folder, function, given)
        for rank in range(count)
    ]
    try:
        for rank, process in enumerate(ranks):
            process.join(TIMEOUT_SECONDS)
            said = (folder / f"rank-{rank}.log").read_text()
            assert process.exitcode == 0, said[-3000:]
    finally:
        for process in ranks:
            process.kill()
            process.join()


def launched(
    count: int, folder: Path, function: Callable[..., object], *given: Any, gpus: bool = False
) -> int:
    """Runs ``function(*given)`` in so many processes under torchrun's own agent.

    Args:
        folder: gets what the agent says, as ``agent.log``, and each process, as ``rank-0.log``.
        gpus: whether they see any.

    Returns:
        The exit code that torchrun would have.
    """
    agent = fork(_agent, count, folder, function, given, {} if gpus else NO_GPUS, parent=True)
    agent.join(TIMEOUT_SECONDS)
    running = agent.is_alive()
    agent.kill()
    assert not running, (folder / "agent.log").read_text()[-3000:]
    return agent.exitcode or 0


def _agent(
    count: int,
    folder: Path,
    function: Callable[..., object],
    given: tuple[Any, ...],
    variables: Mapping[str, str],
) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _write_to(os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT))
    os.environ.update(variables)
    config = LaunchConfig(
        run_id="tested",
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, _launched)(folder, function, given)


def _launched(folder: Path, function: Callable[..., object], given: tuple[Any, ...]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)  # not the agent's own
    _rank({"RANK": os.environ["RANK"]}, folder, function, given)


class Started:
    """A module of rmtscale that runs in a copy of this process; stands for a ``Popen``.

    Takes the place of ``rmtscale.processes.start`` where that was imported. Its pipes are closed in
    the copies that are made later, as they are in what is started anew.
    """

    pipes: ClassVar[set[IO[bytes]]] = set()

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: int | IO[bytes],
        errors: int | IO[bytes] = subprocess.STDOUT,
        input: int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
        group: bool = False,
    ) -> None:
        assert list(command[:2]) == [sys.executable, "-m"]
        theirs = [os.open(os.devnull, os.O_RDONLY), _number(output), _number(errors)]
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        opened = theirs[:1]
        if input == subprocess.PIPE:
            theirs[0], ours = os.pipe()
            opened.append(theirs[0])
            self.stdin = os.fdopen(ours, "wb")
        if output == subprocess.PIPE:
            ours, theirs[1] = os.pipe()
            opened.append(theirs[1])
            self.stdout = os.fdopen(ours, "rb", buffering=0)
        if errors == subprocess.STDOUT:
            theirs[2] = theirs[1]
        Started.pipes |= {one for one in (self.stdin, self.stdout) if one is not None}
        whole = dict(os.environ if environment is None else environment)
        whole["RMTSCALE_PARENT"] = str(os.getpid())
        self._process = fork(_module, list(command[2:]), theirs, whole, parent=True)
        assert self._process.pid is not None
        self.pid = self._process.pid
        if group:
            os.setpgid(self.pid, self.pid)
        self.terminate, self.kill = self._process.terminate, self._process.kill
        for number in opened:
            os.close(number)

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a copy", timeout or 0.0)
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode


def _number(file: int | IO[bytes]) -> int:
    return file if isinstance(file, int) else file.fileno()


def _module(words: list[str], files: list[int], environment: Mapping[str, str]) -> None:
    """Runs ``python -m`` of these words in this process, with these standard files."""
    for pipe in Started.pipes:
        with suppress(OSError):
            pipe.close()
    for standard, number in enumerate(files):
        os.dup2(number, standard)
    sys.stdin = os.fdopen(0, closefd=False)
    _speak()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    importlib.import_module("rmtscale.cli.main" if words[0] == "rmtscale" else words[0]).main()


def _rank(
    variables: Mapping[str, str],
    folder: Path,
    function: Callable[..., object],
    given: tuple[Any, ...],
) -> None:
    _write_to(os.open(folder / f"rank-{variables['RANK']}.log", os.O_WRONLY | os.O_CREAT))
    os.environ.update(variables)
    AcceleratorState._reset_state(reset_partial_state=True)  # of a test before this one
    torch.set_num_threads(1)
    function(*given)


def _write_to(file: int) -> None:
    """Not where the tests' own output is kept."""
    for standard in (1, 2):
        os.dup2(file, standard)
    _speak()


def _speak() -> None:
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
