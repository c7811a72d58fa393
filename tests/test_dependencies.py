"""What is declared is what is imported, for the light part and for the part that measures."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from rmtscale import tabular
from tests.lowest_versions import PYPROJECT, lowest
from tests.test_layers import imports, modules, part

PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {"nvidia-ml-py": "pynvml", "huggingface-hub": "huggingface_hub"}
OFFERED = {
    "rmtscale.app.server": {"flask", "werkzeug"},
    "rmtscale.records.nvml": {"pynvml"},
    "rmtscale.specs.huggingface": {"huggingface_hub"},
    "rmtscale.study.tasks.background": {"datasets"},
    "rmtscale.study.tasks.tokenizer": {"tokenizers"},
    "rmtscale.study.tasks.tokenizer_files": {"tokenizers"},
}
"""Modules of the light part that use more where it is there; else one line says what is missing."""
RUN_MODELS = {"rmt", "profiler", "study.training", "study.evaluation", "study.figures", "cli"}


def declared(*extras: str) -> set[str]:
    """Import names of the dependencies, of the light part where no extra is given."""
    requirements = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    requirements = requirements or PROJECT["dependencies"]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements}
    return {IMPORTED_AS.get(name, name) for name in names} - {"rmtscale"}


def imported() -> dict[str, set[str]]:
    """Modules of the package, and what each imports from outside."""
    return {
        name: {target.split(".")[0] for target in imports(tree)}
        - {"rmtscale", *sys.stdlib_module_names}
        for name, tree in modules().items()
    }


def test_declared_is_imported() -> None:
    everything = set().union(*imported().values())
    assert everything == declared() | declared("measure", "text", "slurm", "app")
    assert not declared() & declared("measure", "text", "slurm", "app")


def test_the_light_part_imports_the_light_dependencies() -> None:
    light = {name: used for name, used in imported().items() if part(name) not in RUN_MODELS}
    more = {name: used - declared() for name, used in light.items()}
    assert {name: used for name, used in more.items() if used} == OFFERED
    assert set().union(*light.values()) >= declared() - {"typer", "rich"}


def test_an_import_that_is_not_declared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_dependencies.modules", lambda: {"rmtscale.x": tree()})
    assert imported() == {"rmtscale.x": {"polars"}}


def tree() -> object:
    import ast

    return ast.parse("import sys, polars.io\nfrom rmtscale import units")


def test_lowest_versions() -> None:
    assert lowest(["typer>=0.16,<0.29", "rich>=13.7"]) == ["typer==0.16", "rich==13.7"]
    assert len(lowest(PROJECT["dependencies"])) == len(PROJECT["dependencies"])
    with pytest.raises(ValueError, match=r"rich: expected one lower bound, such as rich>=1\.0"):
        lowest(["rich"])


def test_frames() -> None:
    frame = tabular.to_frame([tabular.flat_row({"a": {"b": 1}, "c": 2.5}), {"c": 3.5, "d": "x"}])
    assert list(frame.columns) == ["a.b", "c", "d"]
    assert frame["c"].sum() == 6
