"""Peaks of tiny shapes in mixed precision to the byte: a term of the tape that is wrong is seen."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
from tests.costs import mixed_peaks
from tests.costs.peaks import NAMES

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
SHAPES = mixed_peaks.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = SHAPES if THOROUGH else random.Random(1).sample(SHAPES, 4)


def test_every_estimate_differs_from_its_module_by_what_is_known() -> None:
    """Anything else is a changed term: where it is meant, ``python -m tests.costs.mixed_peaks``."""
    found = [(shape, mixed_peaks.difference(shape)) for shape in SHAPES]
    assert [(shape, now) for shape, now in found if now != shape["difference"]] == []


@pytest.mark.parametrize("shape", ASKED, ids=lambda shape: shape["model"])
def test_the_module_still_has_that_peak(shape: mixed_peaks.Shape) -> None:
    """But for a scalar or two, such as a loss."""
    assert abs(mixed_peaks.peak_of_module(shape) - shape["peak"]) <= 16


def test_the_difference_is_small() -> None:
    errors = [abs(shape["difference"]) / shape["peak"] for shape in SHAPES]
    assert max(errors) <= mixed_peaks.LARGEST_ERROR
    assert sum(errors) / len(errors) < 0.02
    assert {shape["model"] for shape in SHAPES} == set(NAMES)
