"""What lies in ``reports/`` is what the committed commands make of the committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rmtscale.study.figures.registry import FIGURES
from tests.command_line import Command

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
H200 = [
    f"profiles/nvidia-h200/{name}.jsonl"
    for name in ("figure-10-plain", "gpt2-train", "gpt2-inference", "opt-inference")
]
DIGEST = re.compile(rb"data sha256 [0-9a-f]{64}")


def commands() -> dict[str, tuple[str, ...]]:
    """The command of every report, by the name of its folder."""
    made: dict[str, tuple[str, ...]] = {"nvidia-h200": ("report", *H200)}
    for name, figure in FIGURES.items():
        sources = figure.committed()
        if sources is not None:
            records = [] if sources.records is None else ["--records", str(sources.records)]
            made[name] = ("reproduce", name, *records)
    return made


def digest(path: Path) -> bytes:
    (found,) = {match[0] for match in DIGEST.finditer(path.read_bytes())}
    return found


def plain(page: str) -> str:
    """A page without its pictures, whose pixels depend on the fonts of a machine."""
    return re.sub(r"data:image/[^\"]*|<svg.*?</svg>", "", page, flags=re.S)


@pytest.mark.parametrize("name", commands())
@pytest.mark.usefixtures("unpainted")
def test_made_again_it_is_the_same(
    name: str, rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same files, same numbers, same words; and in every picture the same data."""
    monkeypatch.chdir(ROOT)
    done = rmtscale(*commands()[name], "--out", str(tmp_path))
    assert done.code in (0, 1), done.err  # 1: a claim of the paper does not hold
    committed, again = (
        {path.name: path for path in folder.iterdir() if path.is_file()}
        for folder in (REPORTS / name, tmp_path)
    )
    assert set(committed) == set(again)
    for file, path in committed.items():
        if path.suffix in (".png", ".svg"):
            assert digest(path) == digest(again[file]), file
        else:
            texts = [plain(one.read_text(encoding="utf-8")) for one in (path, again[file])]
            assert texts[0] == texts[1], file


def test_the_readme_shows_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert picture == "reports/figure-10/figure-10.png"
    assert digest(ROOT / picture)


def test_pages_are_small() -> None:
    for page in REPORTS.rglob("*.html"):
        assert page.stat().st_size < 3 * 2**20
