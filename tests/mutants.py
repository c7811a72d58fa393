"""Draws random mutants of the closed forms and shows which of them the tests let live.

``make mutants`` changes one sign, operator or constant of ``rmtscale/costs`` or ``rmtscale/specs``
at a time and runs the tests that ask these for numbers, those of the changed module first, until
one fails.

The changes are cosmic-ray's. Its own runner, like mutmut's, draws by no seed, chooses no tests by
the mutant, and starts a process for each, which loads torch anew; mutmut changes no constant
outside a function, where most of ours are. Here every mutant is a fork of one process that has
loaded torch and nothing of this package; the files on the disk stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple, NoReturn

import pytest

ROOT = Path(__file__).parents[1]
MUTATED = ("rmtscale/costs", "rmtscale/specs")
ROWS = "rmtscale/specs/rows"
TESTS = {
    ROWS: (
        *("tests/specs/test_shapes.py", "tests/specs/test_reading.py", "tests/specs/test_rows.py"),
        "tests/test_model_types.py",
    ),
    "rmtscale/specs": (
        *("tests/specs/test_shapes.py", "tests/specs/test_current.py"),
        *("tests/costs/test_moved_numbers.py", "tests/costs/test_kept.py", "tests/specs"),
        *("tests/costs/test_memory_exact.py", "tests/costs/test_bounds_exact.py"),
        *("tests/costs/test_flops.py", "tests/test_extending.py"),
    ),
    "rmtscale/costs/methods": ("tests/costs/methods", "tests/costs/test_memory.py", "tests/paper"),
    "rmtscale/costs": (
        *("tests/costs/test_memory_exact.py", "tests/costs/test_mixed_peaks.py"),
        *("tests/costs/test_moved_numbers.py", "tests/costs/test_bounds_exact.py"),
        *("tests/costs/test_known_peaks.py", "tests/costs/test_operator_counts.py"),
        *("tests/specs/test_shapes.py", "tests/costs/test_layered_bound.py", "tests/costs"),
        *("tests/cli/test_generate_cost.py", "tests/test_measured.py", "tests/paper"),
        *("tests/profiler/test_flop_check.py", "tests/profiler/test_optimizer_states.py"),
        *("tests/test_measured_precisions.py", "tests/test_questions.py"),
    ),
}
"""Tests that ask a folder's modules for numbers; of the first folder that a file is in."""
OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark"),
    "--hypothesis-seed=0",
)
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow")
LOGIC = ("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd")
UNCHANGED = {"name", "newline", "string", "fstring_string", "endmarker"}
"""Kinds of nodes that nothing changes: not to ask of each is faster."""
NO_NUMBER = {"maxsize", "strict"}
"""Arguments that no result depends on: the size of a cache, whether a zip looks at lengths."""
TIMEOUT_SECONDS = 1200
CPU_SECONDS = 100
"""A mutant that no test has killed by then counts as alive, as one does that never ends."""
NOTHING_COLLECTED = 5
"""Exit code of pytest where no test has the name that is asked for."""


class Mutant(NamedTuple):
    """One change of one file."""

    file: str
    line: int
    source: str
    """The whole file, changed."""
    diff: tuple[str, ...]
    """Changed lines, with ``-`` and ``+`` before them."""


class Outcome(NamedTuple):
    """Tells what the tests said of a mutant."""

    killed: bool
    by: str
    """The test that failed first."""
    seconds: float


class Bare(ast.NodeTransformer):
    """Takes away what no number depends on: annotations, decorators, ``NO_NUMBER``."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Name("")
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns, node.decorator_list = None, []
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = []
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [one for one in node.keywords if one.arg not in NO_NUMBER]
        return self.generic_visit(node)


def meaning(source: str) -> str | None:
    """A program without layout and all that ``Bare`` takes away; None if it is no program."""
    try:
        return ast.dump(Bare().visit(ast.parse(source)))
    except SyntaxError:
        return None


def changes() -> list[Any]:
    """The mutation operators: arithmetic, signs, comparisons, logic, numbers."""
    from cosmic_ray.operators import (
        binary_operator_replacement,
        boolean_replacer,
        comparison_operator_replacement,
        number_replacer,
        unary_operator_replacement,
    )

    arithmetic = [
        getattr(binary_operator_replacement, f"ReplaceBinaryOperator_{one}_{other}")()
        for one in ARITHMETIC
        for other in ARITHMETIC
        if one != other
    ]
    # ``is`` between numbers or strings says what ``==`` says, or not, as Python pleases.
    comparisons = [
        made()
        for made in comparison_operator_replacement.operators()
        if sum(part.startswith("Is") for part in made.__name__.split("_")[1:]) != 1
    ]
    signs = [made() for made in unary_operator_replacement.operators()]
    logic = [getattr(boolean_replacer, name)() for name in LOGIC]
    return [*arithmetic, *comparisons, *signs, *logic, number_replacer.NumberReplacer()]


def places(source: str) -> dict[tuple[int, int], list[tuple[Any, int]]]:
    """By line and column: the operators that change it, each with its how many-th place it is."""
    from cosmic_ray.ast import ast_nodes, get_ast

    found: dict[tuple[int, int], list[tuple[Any, int]]] = {}
    nodes = [node for node in ast_nodes(get_ast(source)) if node.type not in UNCHANGED]
    for change in changes():
        positions = (at for node in nodes for at, _ in change.mutation_positions(node))
        for occurrence, position in enumerate(positions):
            found.setdefault(position, []).append((change, occurrence))
    return found


def draw(count: int, seed: int) -> Iterator[Mutant]:
    """Draws ``count`` places, each as likely as any other, and a change of each."""
    from cosmic_ray.mutating import mutate_code

    chance = random.Random(seed)
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in MUTATED
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    every = [
        (file, line, ways)
        for file, source in sources.items()
        for (line, _), ways in sorted(places(source).items(), key=lambda item: item[0])
    ]
    chance.shuffle(every)
    for file, line, ways in every:
        before = sources[file]
        change, occurrence = chance.choice(ways)
        after = mutate_code(before, change, occurrence)
        if after is None or meaning(after) in (None, meaning(before)):
            continue
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        yield Mutant(file, line, after, tuple(lines)[3:])
        count -= 1
        if not count:
            return


def runs_for(mutant: Mutant) -> list[list[str]]:
    """Runs of pytest, in order: of the changed row; named like the module; importing it; others."""
    folder = next(folder for folder in TESTS if mutant.file.startswith(f"{folder}/"))
    files = {  # in the order in which they are first named
        file.relative_to(ROOT).as_posix(): None
        for test in TESTS[folder]
        for file in (sorted((ROOT / test).rglob("test_*.py")) or [ROOT / test])
    }
    name = Path(mutant.file).stem
    imported = f"from {module_of(mutant)} import"

    def distance(file: str) -> int:
        if name in file:
            return 0
        return 1 if imported in (ROOT / file).read_text(encoding="utf-8") else 2

    runs = [[file] for file in sorted(files, key=distance)]
    if folder == ROWS:
        before = mutant.source.splitlines()[: mutant.line]
        kinds = re.findall(r'^    "([\w-]+)": Row\(', "\n".join(before), re.MULTILINE)
        if kinds:
            runs.insert(0, ["tests/specs/test_rows.py", "-k", f"[{kinds[-1]}]"])
    return runs


def module_of(mutant: Mutant) -> str:
    """``rmtscale/costs/plan.py`` is imported as ``rmtscale.costs.plan``."""
    return mutant.file.removesuffix(".py").replace("/", ".")


class Instead(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """Imports one module from a changed text."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if fullname != module_of(self.mutant):
            return None
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=str(ROOT / self.mutant.file), is_package=False
        )
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        del fullname
        return self.mutant.source

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return compile(self.mutant.source, str(ROOT / self.mutant.file), "exec")


class FirstFailure:
    """Remembers the first test that failed, or the file that could not be imported."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def in_the_child(mutant: Mutant | None, runs: Sequence[Sequence[str]], writing: int) -> NoReturn:
    """Runs the tests silently, writes who failed and leaves with pytest's exit code."""
    first, code = FirstFailure(), 1
    try:
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, 1)
        os.dup2(void, 2)
        if mutant is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
            sys.meta_path.insert(0, Instead(mutant))
        for run in runs:  # one after the other, so that none is collected in vain
            code = int(pytest.main([*OPTIONS, *run], plugins=[first]))
            code = 0 if code == NOTHING_COLLECTED else code
            if code:
                break
    finally:
        os.write(writing, (first.name or f"exit code {code}").encode())
        os._exit(code)


def fate(mutant: Mutant | None, runs: Sequence[Sequence[str]]) -> Outcome:
    """Runs the tests on a mutant in a process of its own; without one, on what is there.

    What has not failed in time counts as alive.
    """
    start = time.perf_counter()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        in_the_child(mutant, runs, writing)
    os.close(writing)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(TIMEOUT_SECONDS)
    with open(reading, encoding="utf-8") as pipe:
        by = pipe.read()
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    spent = code in (-signal.SIGXCPU, -signal.SIGKILL)
    return Outcome(code != 0 and not spent, by or f"exit code {code}", time.perf_counter() - start)


def load() -> None:
    """Loads before the first fork what most tests need, and nothing of this package."""
    for name in ("hypothesis", "numpy", "pandas", "typer", "rich", "scipy.stats", "transformers"):
        importlib.import_module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("peft")
    import torch

    with torch.device("meta"):  # the first operators load what works out shapes
        torch.nn.Linear(2, 2)(torch.empty(3, 2)).softmax(-1).sum().backward()
    for config in sorted((ROOT / "tests" / "specs" / "tiny").glob("*.json")):
        kind = json.loads(config.read_text(encoding="utf-8"))["model_type"]
        name = kind.removesuffix("_text").replace("-", "_")
        with contextlib.suppress(ImportError):
            importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def say(*lines: str) -> None:
    print(*lines, sep="\n    ", flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.95, help="of them that must be killed")
    parser.add_argument("--first", type=int, default=1, help="of the mutants drawn, to go on")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests without one")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mutants = list(draw(given.count, given.seed))[given.first - 1 :]
    load()
    if not given.unchecked:
        every = sorted({test for tests in TESTS.values() for test in tests})
        sound = fate(None, [[test] for test in every])
        if sound.killed:
            say(f"without a mutant, {sound.by} fails")
            return 2
    alive = []
    for number, mutant in enumerate(mutants, given.first):
        outcome = fate(mutant, runs_for(mutant))
        word = f"killed by {outcome.by}" if outcome.killed else "SURVIVED"
        where = f"{number} {mutant.file}:{mutant.line}"
        say(f"{where} {word} ({outcome.seconds:.0f} s)", *mutant.diff)
        if not outcome.killed:
            alive.append(mutant)
    for mutant in alive:
        say(f"survived: {mutant.file}:{mutant.line}", *mutant.diff)
    killed = len(mutants) - len(alive)
    say(f"killed {killed} of {len(mutants)} mutants, seed {given.seed}")
    return int(killed < given.share * len(mutants))


if __name__ == "__main__":
    sys.exit(main())
