"""Memory of types that are known as a family is, beside their real modules, to the byte."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from tests.costs import known_peaks

KNOWN = known_peaks.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = KNOWN if THOROUGH else random.Random(1).sample(KNOWN, 3)


def test_every_known_peak_differs_by_what_is_known() -> None:
    """Else a term has changed: where it is meant, ``python -m tests.costs.known_peaks``."""
    found = [(line, known_peaks.difference(line)) for line in KNOWN]
    assert [(line, now) for line, now in found if now != line["difference"]] == []
    assert max(abs(line["difference"]) / line["peak"] for line in KNOWN) < 0.05


@pytest.mark.parametrize("line", ASKED, ids=lambda line: line["type"])
def test_a_known_module_still_has_that_peak(line: known_peaks.Line) -> None:
    assert known_peaks.peak_of_module(line) == line["peak"]
