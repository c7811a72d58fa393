"""What is released: its files, its page on an index of packages, and its containers."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import release
from tests.generated_docs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")


def test_the_page_on_an_index_shows_nothing_that_is_not_there() -> None:
    """No picture and no link to a file: an index has the page alone."""
    assert "![" not in PAGE
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGE)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    assert "<" not in re.sub(r"<!--.*?-->", "", PAGE)


def test_all_data_of_the_package_is_declared() -> None:
    """A wheel has the modules and what ``package-data`` names; nothing else is in the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = settings["setuptools"]["package-data"]["rmtscale"]
    package = ROOT / "rmtscale"
    named = {path for pattern in patterns for path in package.glob(pattern)}
    there = {
        path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert there == {path for path in named if path.is_file()}


def test_a_file_that_a_wheel_lacks_is_seen(tmp_path: Path) -> None:
    (tmp_path / "rmtscale").mkdir()
    for name in ("a.py", "b.csv"):
        (tmp_path / "rmtscale" / name).touch()
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("rmtscale/a.py", "")
        archive.writestr("rmtscale-0.dist-info/METADATA", "")
    missing = release.package_files(tmp_path) - release.wheel_files(wheel)
    assert missing == {"rmtscale/b.csv"}


def test_what_is_not_committed_is_not_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.run("git", "init", "-q", tmp_path)
    (tmp_path / "new.py").touch()
    monkeypatch.setattr(release, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"not committed, so not released:\n\?\? new.py"):
        release.export(tmp_path / "source")


def test_the_wheel_is_asked_what_the_readme_asks() -> None:
    assert release.shown_answer().startswith("Does not fit: needs ")
    assert release.shown_answer().endswith("which way is faster.")


def test_an_image_has_what_it_is_made_of() -> None:
    """What ``.dockerignore`` lets through is the package, its metadata and the pins."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    needed = {"pyproject.toml", "constraints.txt", "rmtscale", PROJECT["readme"]}
    assert let_through == needed | set(PROJECT["license-files"])
    for name in let_through:
        assert (ROOT / name).exists(), name


def test_the_image_is_built_of_what_is_declared() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (torch,) = re.findall(r"^ARG TORCH=(torch==[\d.]+)$", dockerfile, flags=re.M)
    assert f"{torch}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    extras = set(re.findall(r"EXTRAS=(\w+)", dockerfile))
    assert extras <= set(PROJECT["optional-dependencies"])
    (python,) = re.findall(r"^ARG PYTHON=([\d.]+)$", dockerfile, flags=re.M)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert 'ENTRYPOINT ["rmtscale"]' in dockerfile
    asked = re.findall(r"rmtscale (estimate .*)$", dockerfile, flags=re.M)
    assert asked == [" ".join(release.QUESTION)]
