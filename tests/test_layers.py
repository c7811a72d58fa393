"""The layers of the architecture: a module imports only from below, and light ones stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from rmtscale.study.figures.registry import FIGURES
from tests.sources import PACKAGE, parsed, walk

LAYERS = {
    "printable": -1,
    "limits": -1,
    "errors": 0,
    "units": 0,
    "files": 0,
    "readers": 0,
    "references": 0,
    "tabular": 0,
    "intervals": 0,
    "processes": 0,
    "locks": 0,
    "steps": 0,
    "specs": 1,
    "costs": 2,
    "records": 2,
    "api": 2.25,
    "__init__": 2.5,
    "rmt": 3,
    "report": 3,
    "profiler": 4,
    "study": 5,
    "study.tasks": 6,
    "study.records": 6,
    "study.training": 7,
    "study.evaluation": 8,
    "study.figures": 9,
    "app": 9,
    "cli": 10,
    "__main__": 11,
}
HEAVY = {"torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers"}
SLOW = {"numpy", "pandas", "matplotlib", "jinja2", "flask"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    found = {}
    for file, tree in parsed().items():
        parts = (PACKAGE.name, *Path(file).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)
        found[name] = tree
    return found


def imports(tree: ast.AST) -> set[str]:
    """All modules named by an import anywhere in a module."""
    names = set()
    for node in walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(name: str) -> str:
    """``rmtscale.costs.flops`` belongs to ``costs``, ``rmtscale.study.tasks.noise`` to its room."""
    pieces = name.split(".")
    if pieces[1:2] == ["study"]:
        return ".".join(pieces[1:3])
    return pieces[1] if len(pieces) > 1 else "__init__"


def violations(trees: dict[str, ast.Module]) -> list[str]:
    """Imports that do not point down."""
    wrong = []
    for name, tree in trees.items():
        for target in imports(tree):
            if not target.startswith("rmtscale.") or part(target) not in LAYERS:
                continue
            here, there = part(name), part(target)
            ground = (
                LAYERS[here] == 0
            )  # errors < units, files: single files that may lean on errors
            if (
                here != there
                and LAYERS[there] >= LAYERS[here]
                and not (ground and there == "errors")
            ):
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def cycles(trees: dict[str, ast.Module]) -> list[str]:
    """Modules that can be reached from themselves."""
    edges = {name: {t for t in imports(tree) if t in trees} for name, tree in trees.items()}
    in_cycle = []
    for start, targets in edges.items():
        seen: set[str] = set()
        todo = list(targets)
        while todo:
            here = todo.pop()
            if here == start:
                in_cycle.append(start)
                break
            if here not in seen:
                seen.add(here)
                todo += edges[here]
    return in_cycle


def test_every_module_has_a_layer() -> None:
    assert {part(name) for name in modules()} <= set(LAYERS)


def test_imports_point_down() -> None:
    assert violations(modules()) == []


def test_only_the_command_line_enters_the_study() -> None:
    visitors = {
        part(name)
        for name, tree in modules().items()
        for target in imports(tree)
        if part(target).startswith("study") and not part(name).startswith("study")
    }
    assert visitors == {"cli"}


def siblings(trees: dict[str, ast.Module], folder: str) -> list[str]:
    """Imports from one subfolder of a folder into another."""
    prefix = f"{folder}."
    wrong = []
    for name, tree in trees.items():
        for target in imports(tree) & set(trees):
            here, there = name.removeprefix(prefix), target.removeprefix(prefix)
            inside = name.startswith(prefix) and target.startswith(prefix)
            if (
                inside
                and "." in here
                and "." in there
                and here.split(".")[0] != there.split(".")[0]
            ):
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def test_the_kinds_of_training_do_not_know_each_other() -> None:
    assert siblings(modules(), "rmtscale.study.training") == []
    trees = {
        "rmtscale.study.training.language.data": ast.parse(
            "from rmtscale.study.training.memory_tasks import data\n"
            "from rmtscale.study.training import settings"
        ),
        "rmtscale.study.training.memory_tasks.data": ast.parse(""),
        "rmtscale.study.training.settings": ast.parse(""),
    }
    assert siblings(trees, "rmtscale.study.training") == [
        "rmtscale.study.training.language.data imports rmtscale.study.training.memory_tasks.data"
    ]


def test_the_kinds_of_training_have_the_same_files() -> None:
    folder = PACKAGE / "study" / "training"
    memory, language = (
        {path.name for path in (folder / kind).glob("*.py")}
        for kind in ("memory_tasks", "language")
    )
    both = "settings backbone data curriculum objective checkpoint model".split()
    assert {f"{name}.py" for name in both} <= memory & language


def test_no_cycles() -> None:
    assert cycles(modules()) == []


def test_a_wrong_import_is_found() -> None:
    trees = {"rmtscale.specs.model": ast.parse("from rmtscale.costs.flops import estimate_flops")}
    assert violations(trees) == [
        "rmtscale.specs.model imports rmtscale.costs.flops",
        "rmtscale.specs.model imports rmtscale.costs.flops.estimate_flops",
    ]
    circle = {
        "rmtscale.a": ast.parse("import rmtscale.b"),
        "rmtscale.b": ast.parse("import rmtscale.a"),
        "rmtscale.c": ast.parse("import rmtscale.a"),
    }
    assert cycles(circle) == ["rmtscale.a", "rmtscale.b"]


def loaded_after(statement: str) -> set[str]:
    """Top-level modules a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


LIGHT = [
    "import rmtscale",
    "from rmtscale.cli.main import build_app; build_app()",
    "import rmtscale.costs.generation",
    "import rmtscale.report.page, rmtscale.report.document",
    "import rmtscale.app.pages, rmtscale.app.server",
    "import rmtscale.records.store",
    "import rmtscale.profiler.sweep, rmtscale.profiler.definition",
    "import rmtscale.study.records.evaluation, rmtscale.study.records.language",
    "import rmtscale.study.figures.registry",
    "import rmtscale.study.tasks.catalog, rmtscale.study.training.kinds",
]
TASKS = (
    "import rmtscale.study.tasks.batches, rmtscale.study.tasks.catalog, "
    "rmtscale.study.tasks.background, rmtscale.study.tasks.tokenizer, "
    "rmtscale.study.tasks.blocks, rmtscale.study.tasks.lemma_proof"
)


def figures() -> dict[str, str]:
    """By figure, an import of every module in its package: what is heavy is loaded in use."""
    found = {}
    for name, figure in FIGURES.items():
        folder = import_module(figure.package).__path__
        parts = sorted(module.name for module in iter_modules(folder))
        found[name] = f"import {', '.join(f'{figure.package}.{part}' for part in parts)}"
    return found


def first_heavy(statements: list[str]) -> str:
    """The first of some statements behind which something heavy is loaded, in one interpreter."""
    code = f"""
import sys
for statement in {statements!r}:
    exec(statement)
    if {HEAVY | SLOW} & {{name.split(".")[0] for name in sys.modules}}:
        print(statement)
        break
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_heavy_is_loaded() -> None:
    assert first_heavy([*LIGHT, *figures().values()]) == ""
    assert first_heavy(["import json", "import numpy", "import csv"]) == "import numpy"


def test_tasks_load_numpy_and_nothing_else() -> None:
    assert loaded_after(TASKS) & (HEAVY | SLOW) == {"numpy"}


def test_a_heavy_import_is_seen() -> None:
    assert "numpy" in loaded_after("import numpy")


def test_layers_that_predict_and_report_never_name_torch() -> None:
    light = {
        "errors",
        "units",
        "files",
        "references",
        "tabular",
        "intervals",
        "processes",
        "locks",
        "specs",
        "costs",
        "records",
        "study.tasks",
        "study.records",
        "report",
    }
    named = {
        f"{name}: {target}"
        for name, tree in modules().items()
        if part(name) in light
        for target in imports(tree)
        if target.split(".")[0] in HEAVY
    }
    # tokenizers brings no torch, and is loaded only where there is a tokenizer to work with.
    assert {line for line in named if "tokenizers" not in line} == set()
    assert {line.split(":")[0] for line in named} == {
        "rmtscale.study.tasks.tokenizer",
        "rmtscale.study.tasks.tokenizer_files",
    }
