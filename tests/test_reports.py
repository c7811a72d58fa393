"""What lies in ``reports/`` is what the committed commands make of the committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command_line import Command

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
H200 = [
    f"profiles/nvidia-h200/{name}.jsonl"
    for name in ("figure-10-plain", "gpt2-train", "gpt2-inference", "opt-inference")
]
MADE = {
    "figure-2": ("reproduce", "figure-2"),
    "figure-4": ("reproduce", "figure-4", "--records", "reports/figure-4/records.jsonl"),
    "figure-11": ("reproduce", "figure-11", "--records", "reports/figure-11/records.jsonl"),
    "figure-5": ("reproduce", "figure-5", "--records", "reports/figure-5/records.jsonl"),
    **{
        name: ("reproduce", name, "--records", f"reports/{name}/records.jsonl")
        for name in ("figure-7", "figure-8", "figure-9", "figure-12", "table-1")
    },
    "figure-10": ("reproduce", "figure-10"),
    "nvidia-h200": ("report", *H200),
}
DIGEST = re.compile(rb"data sha256 [0-9a-f]{64}")


def digest(path: Path) -> bytes:
    (found,) = {match[0] for match in DIGEST.finditer(path.read_bytes())}
    return found


def plain(page: str) -> str:
    """A page without its pictures, whose pixels depend on the fonts of a machine."""
    return re.sub(r"data:image/[^\"]*|<svg.*?</svg>", "", page, flags=re.S)


@pytest.mark.parametrize("name", MADE)
def test_made_again_it_is_the_same(
    name: str, rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same files, same numbers, same words; and in every picture the same data."""
    monkeypatch.chdir(ROOT)
    done = rmtscale(*MADE[name], "--out", str(tmp_path))
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


def test_the_readme_shows_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\((reports/[^)]+)\)", readme)
    assert {"reports/figure-10/figure-10.png", "reports/figure-2/figure-2.png"} <= set(shown)
    for picture in shown:
        digest(ROOT / picture)


def test_pages_are_small() -> None:
    for page in REPORTS.rglob("*.html"):
        assert page.stat().st_size < 3 * 2**20
