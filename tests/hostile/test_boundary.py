"""The boundary of the command line: whatever happens inside is one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rmtscale.cli import main as boundary
from rmtscale.errors import BadInput
from rmtscale.printable import one_line, printable
from tests.command_line import Command

RAISED = [
    (OSError(errno.EACCES, "Permission denied", "/root/x"), "file '/root/x': Permission denied"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), "nnn...': File name too long"),
    (OSError(errno.ENOSPC, "No space left on device"), "output: No space left on device"),
    (
        IsADirectoryError(errno.EISDIR, "Is a directory", b"a\xff"),
        "file 'a\\udcff': Is a directory",
    ),
    (MemoryError(), "memory: not enough for what was asked, expected smaller sizes"),
    (RecursionError(), "input: nested too deep to be read"),
    (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), "text: expected UTF-8"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "text: expected UTF-8"),
    (BadInput("a\x1b[31mb\nc"), "a\\x1b[31mb c"),
]


@pytest.mark.parametrize(("raised", "message"), RAISED, ids=lambda x: type(x).__name__)
def test_what_is_raised_inside_is_one_line(
    raised: BaseException,
    message: str,
    rmtscale: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise raised

    monkeypatch.setattr(boundary, "import_module", fail)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # the tests still write there
    done = rmtscale("flops", "-m", "gpt2")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["flops -m {}", "calibrate {}", "models {}", "devices --format {}"]
)
def test_a_name_is_escaped_and_cut(rmtscale: Command, name: str) -> None:
    done = rmtscale(*name.format("a\x1b]0;b\x07\u202e\udcff" + "x" * 5000).split(" "))
    assert done.code == 2
    assert r"a\x1b]0;b\x07\u202e\udcffxxx" in done.err
    assert len(done.err) < 700


def test_messages_are_one_printable_line() -> None:
    assert one_line(f"size '{'9' * 300}': expected 1") == f"size '{'9' * 76}...': expected 1"
    assert one_line(f"list {['ab'] * 90!r}: no").endswith("...]: no")
    assert one_line("the model's width, the layers' heads " * 3).count("...") == 0
    assert printable("a\tb\nc\u00e9\u540d") == "a\tb\nc\u00e9\u540d"
    path = "/" + "d" * 250
    assert path in str(BadInput(f"file {path!r}: gone"))


def test_force_does_not_take_a_folder(rmtscale: Command, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    words = "profile -m pythia-14m --tokens 64 --device cpu --precision fp32 --force --out"
    done = rmtscale(*words.split(), str(tmp_path / "kept"))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert (tmp_path / "kept").is_dir()


def test_a_full_disk_under_the_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rmtscale", "cite"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("milliseconds", [10, 30, 60])
def test_an_interrupt_while_it_starts_is_no_traceback(milliseconds: int) -> None:
    """Python itself takes the first 20 ms or so; what is ours answers from its first line on."""
    script = (
        "import os, sys; from rmtscale.__main__ import run; sys.argv = ['rmtscale', 'models']\n"
        "os.write(1, b'.'); run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(1)
    time.sleep(milliseconds / 1000)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert b"Traceback" not in told
    assert process.returncode in (0, 130)


@pytest.mark.parametrize("option", ["--mode", "--out", "--tokens", "--precision", "--model"])
def test_an_empty_value_is_refused(rmtscale: Command, option: str) -> None:
    done = rmtscale("compare" if option == "--out" else "flops", "-m", "gpt2", option, " ")
    if option == "--precision":
        done = rmtscale("memory", "-m", "gpt2", "--tokens", "64", option, "")
    assert done.code == 2
    assert "expected a value" in done.err
