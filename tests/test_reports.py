"""What lies in ``reports/`` is what the committed commands make of the committed records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rmtscale.study.figures.registry import FIGURES
from tests.conftest import leave_unpainted
from tests.legible import problems

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
H200 = [
    f"profiles/nvidia-h200/{name}.jsonl"
    for name in ("figure-10-plain", "gpt2-train", "gpt2-inference", "opt-inference")
]
WITHOUT_PICTURES = {"table-1"}
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


class Made(NamedTuple):
    """A report, made again."""

    name: str
    folder: Path
    figures: list[Any]
    """What its pictures would have been painted from."""


@pytest.fixture(scope="module", params=commands())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes a report once for all that is asked of it; its pictures are not painted."""
    from rmtscale.cli.main import main

    folder, figures = tmp_path_factory.mktemp("made"), list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        leave_unpainted(patch, figures)
        patch.chdir(ROOT)
        with pytest.raises(SystemExit) as leaving:
            main([*commands()[request.param], "--out", str(folder)])
    assert leaving.value.code in (0, 1, None)  # 1: a claim of the paper does not hold
    return Made(request.param, folder, figures)


def test_made_again_it_is_the_same(made: Made) -> None:
    """Same files, same numbers, same words; and in every picture the same data."""
    committed, again = (
        {path.name: path for path in folder.iterdir() if path.is_file()}
        for folder in (REPORTS / made.name, made.folder)
    )
    assert set(committed) == set(again)
    for file, path in committed.items():
        if path.suffix in (".png", ".svg"):
            assert digest(path) == digest(again[file]), file
        else:
            texts = [plain(one.read_text(encoding="utf-8")) for one in (path, again[file])]
            assert texts[0] == texts[1], file


def test_every_picture_can_be_read(made: Made) -> None:
    """No text on text or on a line, none cut off or faint, no two series alike, nothing blank."""
    found = {f"{made.name} {at}": problems(figure) for at, figure in enumerate(made.figures)}
    assert {name: some for name, some in found.items() if some} == {}
    assert made.figures or made.name in WITHOUT_PICTURES


def test_the_readme_shows_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert picture == "reports/figure-10/figure-10.png"
    assert digest(ROOT / picture)


def test_pages_are_small() -> None:
    for page in REPORTS.rglob("*.html"):
        assert page.stat().st_size < 3 * 2**20
