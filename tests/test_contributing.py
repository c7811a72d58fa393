"""The examples in CONTRIBUTING are the code they are taken from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_examples_are_shown_as_they_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    method, test, row = re.findall(r"```python\n(.*?)\n```", text, flags=re.S)
    methods = ROOT / "rmtscale" / "costs" / "methods"
    assert method in (methods / "sliding_window.py").read_text(encoding="utf-8")
    plain = ROOT / "tests" / "costs" / "methods" / "plain_modules.py"
    assert test in plain.read_text(encoding="utf-8")
    rows = ROOT / "rmtscale" / "specs" / "rows" / "decoders.py"
    assert row in rows.read_text(encoding="utf-8")
