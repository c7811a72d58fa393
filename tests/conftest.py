"""Shared by all tests: one thread of torch per worker, and the command line as a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def rmtscale(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs ``rmtscale ARGUMENTS`` in this process, as the console script does."""
    from rmtscale.cli.main import main

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as leaving:
            main(list(arguments))
        captured = capsys.readouterr()
        code = leaving.value.code
        return Outcome(code if isinstance(code, int) else int(bool(code)), *captured)

    return run
