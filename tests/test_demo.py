"""The demo ends with three lines: the answer, what was measured beside the prediction, the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from rmtscale.records.point import Point
from rmtscale.records.record import Record
from tests import demo
from tests.generated_docs import ROOT
from tests.synthetic.cpu import cpu_point, cpu_record


def records() -> list[Record]:
    rmt = cpu_point(tokens=1024, method="rmt", segment_size=256, memory_tokens=2)
    return [cpu_record(point(1024)), cpu_record(rmt), cpu_record(point(1024, replicate=1))]


def point(tokens: int, **values: Any) -> Point:
    return cpu_point(tokens=tokens, **values)


def test_it_ends_with_three_lines() -> None:
    answer, measured, page = demo.lines(records(), Path("build/demo/report/index.html"))
    assert answer.startswith("Answer: llama-3.2-1b, training on 32,000 tokens, rtx-4090. Does not")
    assert measured.count("predicted, tensors alone: ") == 2
    assert page == "Page: build/demo/report/index.html"
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert answer.split("rtx-4090. ")[1] in readme


def test_what_failed_is_said() -> None:
    lost = cpu_record(point(1024))
    lost = replace(lost, measured=replace(lost.measured, outcome="timeout", memory=None))
    assert "full attention timeout; RMT " in demo.measured([lost, *records()[1:]])
    assert demo.measured([]) == "Measured: nothing"


def test_it_needs_no_more_than_what_measures() -> None:
    """Nor does what is installed for it: no linter, no browser."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    demo_recipe = r"^demo: \$\(VENV\)/measure .*\n\t@\$\(BIN\)/python tests/demo.py\n"
    assert re.search(demo_recipe, makefile, flags=re.M)
    (recipe,) = re.findall(r"^\$\(VENV\)/measure: .*\n((?:\t.*\n)+)", makefile, flags=re.M)
    assert re.findall(r"\.\[(\w+)\]", recipe) == ["measure"]
    assert "import tests" not in (ROOT / "tests" / "demo.py").read_text(encoding="utf-8")
