"""The example in CONTRIBUTING is the code it is taken from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_shortest_method_is_shown_as_it_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    method, test = re.findall(r"```python\n(.*?)\n```", text, flags=re.S)
    methods = ROOT / "rmtscale" / "costs" / "methods"
    assert method in (methods / "sliding_window.py").read_text(encoding="utf-8")
    plain = ROOT / "tests" / "costs" / "methods" / "plain_modules.py"
    assert test in plain.read_text(encoding="utf-8")
