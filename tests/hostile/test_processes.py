"""Processes: one place starts them, and none outlives the one that started it."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rmtscale.cli.interrupts import interrupts
from rmtscale.processes import ask
from tests.sources import walk
from tests.synthetic.records import figure_10
from tests.test_hygiene import called
from tests.test_layers import modules

STARTERS = {"subprocess", "multiprocessing", "concurrent", "asyncio", "pty", "joblib"}
OS_STARTERS = ("fork", "exec", "spawn", "posix_spawn", "system", "popen")
ENDS = [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def starts(tree: ast.AST) -> Iterator[str]:
    """All that can start a process, or a thread that could keep one alive."""
    for node in walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if STARTERS & set(one.name.split(".")))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if STARTERS & set(module.split(".")):
                yield module
            yield from (one.name for one in node.names if one.name in STARTERS)
            if module == "os":
                yield from (one.name for one in node.names if one.name.startswith(OS_STARTERS))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if node.value.id == "os" and node.attr.startswith(OS_STARTERS):
                yield name
            if name == "torch.multiprocessing":
                yield name
        elif isinstance(node, ast.Call) and called(node) == "Thread":
            daemon = [word.value for word in node.keywords if word.arg == "daemon"]
            if not (daemon and isinstance(daemon[0], ast.Constant) and daemon[0].value is True):
                yield "a thread that is no daemon"


def test_one_place_starts_processes() -> None:
    found = {name: names for name, tree in modules().items() if (names := set(starts(tree)))}
    assert found == {"rmtscale.processes": {"concurrent.futures", "multiprocessing", "subprocess"}}


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess",
        "from subprocess import Popen",
        "from concurrent.futures import ThreadPoolExecutor",
        "import torch.multiprocessing as mp",
        "from torch import multiprocessing",
        "import os\nos.fork()",
        "import os\nos.execv(x, y)",
        "from os import posix_spawn",
        "import threading\nthreading.Thread(target=x)",
        "from threading import Thread\nThread(target=x, daemon=False)",
    ],
)
def test_another_place_is_seen(source: str) -> None:
    assert list(starts(ast.parse(source)))


JOBS = """
import sys
from pathlib import Path
from rmtscale.processes import PYTHON
from rmtscale.study.figures.side_by_side import Job, run_jobs
code = (
    "from rmtscale.processes import follow_parent; follow_parent(); "
    "print('runs', flush=True); import time; time.sleep(600)"
)
given = [Job(name, lambda left: [PYTHON, "-c", code], Path(sys.argv[1])) for name in "ab"]
run_jobs(given, 2, gpus=0)
"""
POOL = """
import sys, time
from pathlib import Path
from rmtscale.processes import pool
with pool(2, exec, (f"open({sys.argv[1]!r}, 'a').write('runs ')", {})) as workers:
    list(workers.map(time.sleep, [600, 600]))
"""
INTERRUPTED = """
from rmtscale.cli.interrupts import interrupts
with interrupts():
"""


def indented(code: str) -> str:
    return INTERRUPTED + "".join(f"    {line}\n" for line in code.strip().splitlines())


def of_session(session: int) -> list[int]:
    """The processes of a session that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def ended(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    """Ends a process, and demands that nothing is left of it, nor its pipes held open."""
    try:
        os.kill(process.pid, how)
        out, err = process.communicate(timeout=60)  # until nobody holds the pipes
        assert wait_until(lambda: not of_session(process.pid)), of_session(process.pid)
    finally:
        for pid in of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    return process.returncode, out + err


def session(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("code", [JOBS, POOL])
def test_children_die_with_their_parent(code: str, how: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = session("-c", indented(code), str(log))
    assert wait_until(lambda: log.is_file() and log.read_text().count("runs") == 2)
    assert len(of_session(process.pid)) >= 3
    code_left, _ = ended(process, how)
    assert code_left != 0


def test_a_report_that_is_told_to_stop(tmp_path: Path) -> None:
    """The whole command: one line, the exit code of the signal, nothing half, nobody left."""
    records, out = tmp_path / "made.jsonl", tmp_path / "out"
    records.write_text("".join(one.to_line() + "\n" for one in figure_10()), encoding="utf-8")
    process = session("-m", "rmtscale", "report", str(records), "--out", str(out))
    assert wait_until(lambda: len(of_session(process.pid)) >= 2)
    assert ended(process, signal.SIGTERM) == (143, "error: interrupted by SIGTERM\n")
    assert list(tmp_path.iterdir()) == [records]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interrupt(how: signal.Signals) -> None:
    with interrupts() as noted:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), how)
        for second in ENDS[:2]:  # what closes is not stopped by it
            os.kill(os.getpid(), second)
    assert (noted.words, noted.exit_code) == (f"interrupted by {how.name}", 128 + how)
    assert signal.getsignal(how) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As ``nohup`` does it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
        assert noted.taken is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_child_whose_parent_went_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMTSCALE_PARENT", "1")
    code = "from rmtscale.processes import follow_parent; follow_parent(); print('lives')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_is_asked_and_does_not_answer() -> None:
    assert ask([sys.executable, "-c", "print('yes')"], 60.0) == "yes\n"
    assert ask([sys.executable, "-c", "raise SystemExit(3)"], 60.0) is None
    assert ask([sys.executable, "-c", "import time; time.sleep(60)"], 0.2) is None
    assert ask(["/nowhere/at-all"], 1.0) is None
