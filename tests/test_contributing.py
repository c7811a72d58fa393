"""The examples of what is added are the code they are taken from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def examples(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)\n```", text, flags=re.S)


def test_examples_are_shown_as_they_are() -> None:
    method, test = examples("adding-a-method.md")
    (row,) = examples("adding-a-model.md")
    methods = ROOT / "rmtscale" / "costs" / "methods"
    assert method in (methods / "sliding_window.py").read_text(encoding="utf-8")
    plain = ROOT / "tests" / "costs" / "methods" / "plain_modules.py"
    assert test in plain.read_text(encoding="utf-8")
    rows = ROOT / "rmtscale" / "specs" / "rows" / "decoders.py"
    assert row in rows.read_text(encoding="utf-8")
