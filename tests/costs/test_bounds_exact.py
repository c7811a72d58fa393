"""The upper bound of memory above the real modules, to the byte (``bounds``)."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from rmtscale.specs.rows.catalog import ROWS
from tests.costs import bounds

LINES = bounds.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = LINES if THOROUGH else random.Random(1).sample(LINES, 4)


def test_every_bound_is_above_its_module_by_what_is_known() -> None:
    """Anything else is a changed term: where it is meant, ``python -m tests.costs.bounds``."""
    found = [(line, bounds.bound(line) - line["peak"]) for line in LINES]
    assert [(line, now) for line, now in found if now != line["above"]] == []


def test_it_is_above_everywhere() -> None:
    assert all(line["above"] > 0 for line in LINES)
    assert {line["type"] for line in LINES} == set(ROWS)


@pytest.mark.parametrize("line", ASKED, ids=lambda line: line["type"])
def test_the_module_still_has_that_peak(line: bounds.Line) -> None:
    assert bounds.peak_of_module(line) == line["peak"]
