"""Peaks of tiny shapes to the byte: a term that is wrong anywhere is seen (``peaks``)."""

from __future__ import annotations

import os
from collections import Counter

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from rmtscale.costs.memory import estimate_memory
from tests.costs import peaks

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
SHAPES = peaks.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = SHAPES if THOROUGH else peaks.one_of_each(SHAPES)


def test_every_estimate_differs_from_its_module_by_what_is_known() -> None:
    """Anything else is a changed term: where it is meant, ``python -m tests.costs.peaks``."""
    found = [(shape, peaks.difference(shape)) for shape in SHAPES]
    other = [(shape, now) for shape, now in found if now != shape["difference"]]
    assert other == []


@pytest.mark.parametrize("shape", ASKED, ids=lambda shape: shape["model"])
def test_the_module_still_has_that_peak(shape: peaks.Shape) -> None:
    """But for a scalar or two, such as a loss, which the RMT may hold longer or not."""
    assert abs(peaks.peak_of_module(shape) - shape["peak"]) <= 16


def test_the_difference_is_small() -> None:
    """In shapes of a few kilobytes, where one tensor more is a percent."""
    errors = [abs(shape["difference"]) / shape["peak"] for shape in SHAPES]
    assert max(errors) <= peaks.LARGEST_ERROR
    assert sum(errors) / len(errors) < 0.01


def test_every_peak_candidate_is_the_peak_somewhere() -> None:
    """Each often enough that none of its terms is hidden by another."""
    where = Counter(estimate_memory(*peaks.the_case(shape)).peak_at for shape in SHAPES)
    assert len(where) == 12
    assert min(where.values()) >= 10
    assert {shape["model"] for shape in SHAPES} == set(peaks.NAMES)
