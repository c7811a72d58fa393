"""Shared by all tests: one thread of torch per worker, and the command line as a function."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest

from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.specs.catalog import PRESETS
from tests.command_line import Command, Outcome
from tests.grids import THOROUGH
from tests.synthetic.cpu import cpu_point, cpu_record

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests in two processes may measure at the same time: what they measure is not looked at.
LOCKS = TemporaryDirectory(prefix="rmtscale-locks-")
os.environ["RMTSCALE_LOCKS"] = LOCKS.name
# Every run draws the same cases, ``make verify`` draws others each time, and more of them. A test
# of a property is not slow because its core is shared.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=500)
hypothesis.settings.load_profile("thorough" if THOROUGH else "same")


MANY_MODULES = 100
MADE_BEFORE_LOOKING = 20_000
"""Objects that are made before garbage is looked for; Python's 700 took a fifteenth of the time."""
LAST = Path(__file__).with_name("test_units.py")
"""Of what is collected."""


def is_compiled(module: Path) -> bool:
    """Whether pytest has written a module with its assertions; it may be of an older version."""
    cache = Path(cache_from_source(str(module))).parent
    return any(cache.glob(f"{module.stem}.*-pytest-*.pyc"))


class Frozen:
    modules = 0
    file: Path | None = None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules and tests stay: looking for garbage among them took a sixth of collecting them.

    Where nothing is compiled yet, workers that load the same at the same time would each compile
    all of it, which takes a core twice as long as what else there is: one after another they take
    what the first has written. Beside it, ``make test`` type-checks.
    """
    gc.disable()
    with open(__file__, encoding="utf-8") as turn:
        if not sys.dont_write_bytecode and not is_compiled(LAST):
            fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(MADE_BEFORE_LOOKING)
    gc.enable()
    Frozen.modules = len(sys.modules)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What files of tests leave behind, and libraries, are hundreds of thousands of objects."""
    if item.path != Frozen.file or len(sys.modules) > Frozen.modules + MANY_MODULES:
        Frozen.file = item.path
        freeze()


def freeze() -> None:
    """What outlives a file is no garbage: a training or a measurement collects among its own."""
    gc.collect()
    gc.freeze()
    Frozen.modules = len(sys.modules)


@pytest.fixture
def rmtscale(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``rmtscale ARGUMENTS`` in this process, as the console script does."""
    from rmtscale.cli.main import main

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as leaving:
            main(list(arguments))
        captured = capsys.readouterr()
        code = leaving.value.code
        return Outcome(code if isinstance(code, int) else int(bool(code)), *captured)

    return run


class Here:
    """Stands in the place of the second process: it never begins, all is drawn in this one."""

    def __init__(self, *_: object) -> None:
        self.submit = lambda *_: Future[Any]()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def leave_unpainted(patch: pytest.MonkeyPatch, figures: list[Any]) -> None:
    """Pictures of their data alone: pixels take the time, where nobody looks at them.

    Args:
        figures: takes what would have been painted.
    """
    from rmtscale.report import gallery, style

    paint = style.render if THOROUGH else None

    def render(figure: Any) -> dict[str, bytes]:
        figures.append(figure)
        if paint is not None:
            return paint(figure)
        digest = style.data_digest(figure)
        return {"png": digest.encode(), "svg": f"<svg>{digest}</svg>".encode()}

    patch.setattr(style, "render", render)
    patch.setattr(gallery, "pool", Here)


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of their data alone, in this process."""
    leave_unpainted(monkeypatch, [])


@pytest.fixture
def remembered_shapes() -> Iterator[None]:
    """On ``meta``, an operator runs once for each layout of its inputs."""
    from tests.meta_shapes import RememberedShapes

    with RememberedShapes():
        yield


@pytest.fixture
def point() -> Callable[..., Point]:
    """Makes a point on this machine's CPU: small full attention, but for what is given."""
    return cpu_point


@pytest.fixture
def record() -> Callable[..., Record]:
    """Makes a record of a point, as if it had been measured on this machine's CPU."""
    return cpu_record


@pytest.fixture
def tiny() -> Callable[[str], Any]:
    """A preset shrunk to two small layers, its kind's switches kept."""

    def shrink(name: str) -> Any:
        spec = PRESETS[name]
        heads = 4
        return replace(
            spec,
            layers=2,
            width=32,
            heads=heads,
            kv_heads=heads if spec.kv_heads == spec.heads else 2,
            head_width=8,
            mlp_width=64,
            vocabulary=101,
            embedding_width=16 if spec.projected_embedding else 32,
            positions=None if spec.positions is None else 64,
            position_rows=0 if spec.positions is None else 64 + spec.position_rows - spec.positions,
            rotary_width=2 if 0 < spec.rotary_width < spec.head_width else spec.rotary_width and 8,
            local_layers=spec.local_layers and 1,
            local_window=spec.local_window and 16,
        )

    return shrink
