"""The registry: a figure that is added in its one line is taken by everything that lists them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmtscale.study.figures import registry
from rmtscale.study.figures.figure import Figure
from rmtscale.study.figures.registry import ANALYTIC, ATTENTION, FIGURES, LANGUAGE, MEMORY_TASKS
from tests import test_layers, test_reports
from tests.command_line import Command

NAME = "figure-99"
PAGE = """
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure import FigureReport
from rmtscale.study.figures.published_points import published_rows


def make(figure, sources):
    points = [int(row["tokens"]) for row in published_rows("figure_99")]
    outcome = "pass" if sum(points) == 1536 else "fail"
    return FigureReport(
        claims=[Claim("the points", "1536", str(sum(points)), outcome)],
        page=f"# {figure.title}\\n\\n{sources.records and sources.records.name}\\n",
        files={"numbers.txt": f"{points}\\n", "gone.txt": None},
    )
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of a figure that no other file knows, in a place of its own."""
    before = dict(FIGURES)
    folder = tmp_path / "figures" / "figure_99"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "page.py").write_text(PAGE)
    (folder / "published.csv").write_text("tokens\n512\n1024\n")
    from rmtscale.study import figures

    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(folder.parent)])
    # Its help is made of the registry when it is loaded.
    sys.modules.pop("rmtscale.cli.reproduce", None)
    yield folder
    for module in [name for name in sys.modules if "figure_99" in name]:
        del sys.modules[module]
    sys.modules.pop("rmtscale.cli.reproduce", None)
    FIGURES.clear()
    FIGURES.update(before)


@pytest.fixture
def added(package: Path) -> Figure:
    """The line in the registry."""
    assert (package / "page.py").is_file()
    FIGURES[NAME] = Figure(NAME, "Figure 99: a figure of the test", ANALYTIC)
    return FIGURES[NAME]


def test_without_its_line_nothing_knows_it(rmtscale: Command, package: Path) -> None:
    del package
    refused = rmtscale("reproduce", NAME)
    assert (refused.code, f"'{NAME}': expected one of figure-2" in refused.err) == (2, True)
    assert NAME not in rmtscale("reproduce", "--help").out
    assert NAME not in test_layers.figures()
    assert NAME not in test_reports.commands()


def test_the_help_and_the_refusal_name_it(rmtscale: Command, added: Figure) -> None:
    assert added.name in rmtscale("reproduce", "--help").out
    refused = rmtscale("reproduce", "figure-98")
    assert refused.code == 2
    assert added.name in refused.err


def test_it_is_made_and_its_claims_decide_the_exit_code(
    rmtscale: Command, added: Figure, package: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "gone.txt").write_text("of an earlier run")
    refused = rmtscale("reproduce", NAME, "--out", str(out))
    assert (refused.code, "gone.txt': exists already" in refused.err) == (2, True)
    done = rmtscale("reproduce", NAME, "--out", str(out), "--force")
    assert (done.code, done.err) == (0, "")
    assert "pass: all 1 claims hold" in done.out
    assert {file.name for file in out.iterdir()} == {"README.md", "numbers.txt"}
    assert (out / "README.md").read_text() == f"# {added.title}\n\nNone\n"
    (package / "published.csv").write_text("tokens\n512\n")
    failed = rmtscale("reproduce", NAME, "--out", str(out), "--force")
    assert (failed.code, "1 of 1 claims do not hold" in failed.err) == (1, True)


def test_all_makes_it(rmtscale: Command, added: Figure, tmp_path: Path) -> None:
    """What ``make figures`` runs."""
    for name in set(FIGURES) - {NAME, "figure-6"}:
        del FIGURES[name]
    done = rmtscale("reproduce", "all", "--out", str(tmp_path / "reports"))
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first == "figure-6: left out, it takes a training or a checkpoint"
    folder = tmp_path / "reports" / added.name
    assert second == f"{NAME}: pass: all 1 claims hold; written to {folder}"
    assert (folder / "README.md").is_file()
    for option in (["--quick"], ["--records", "x.jsonl"], ["--jobs", "2", "--seeds", "0"]):
        refused = rmtscale("reproduce", "all", *option)
        assert (refused.code, "with all: expected none" in refused.err) == (2, True)


def test_the_makefile_runs_all() -> None:
    makefile = (test_reports.ROOT / "Makefile").read_text(encoding="utf-8")
    assert "rmtscale reproduce all --force" in makefile
    assert "reproduce figure-4" not in makefile


def test_the_tests_of_layers_and_reports_take_it(added: Figure) -> None:
    assert test_layers.figures()[NAME] == f"import {added.package}.page"
    assert test_reports.commands()[NAME] == ("reproduce", NAME)


def test_options_are_taken_and_refused_by_kind(rmtscale: Command, added: Figure) -> None:
    def refusal(*options: str) -> str:
        done = rmtscale("reproduce", NAME, *options)
        assert done.code == 2
        return done.err

    assert f"--device 'cpu': {NAME} trains nothing, expected figure-4" in refusal("--device", "cpu")
    assert "is not made from records, expected figure-4, " in refusal("--records", "x.jsonl")
    assert f"--checkpoint 'x' with {NAME}: expected figure-6\n" in refusal("--checkpoint", "x")
    for kind in (MEMORY_TASKS, LANGUAGE, ATTENTION):
        FIGURES[NAME] = Figure(NAME, added.title, kind)
        sys.modules.pop("rmtscale.cli.reproduce", None)
        listed = rmtscale("reproduce", "figure-2", "--quick").err
        assert listed.rstrip().endswith(f"or {NAME}")
    assert (
        f"--checkpoint 'x' with figure-2: expected figure-6 or {NAME}"
        in rmtscale("reproduce", "figure-2", "--checkpoint", "x").err
    )


def test_committed_sources_are_there() -> None:
    for name, figure in FIGURES.items():
        sources = figure.committed()
        reported = (test_reports.REPORTS / name).is_dir()
        assert (sources is None) == (name == "figure-6" or not reported)
        if sources is not None and sources.records is not None:
            assert (test_reports.ROOT / sources.records).is_file()


def test_every_package_of_a_figure_is_in_the_registry() -> None:
    """A folder with a page and without a line would be made by nobody."""
    pages = (test_reports.ROOT / "rmtscale" / "study" / "figures").glob("*/page.py")
    shared = {"language", "memory_tasks"}
    folders = {page.parent.name for page in pages} - shared
    assert folders == {name.replace("-", "_") for name in registry.FIGURES}
