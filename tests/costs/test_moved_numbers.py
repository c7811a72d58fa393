"""What the roofline takes a pass to read and write, beside the real modules, to the number."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from rmtscale.specs.rows.catalog import ROWS
from tests.costs import moved_numbers

LINES = moved_numbers.read()
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
ASKED = LINES if THOROUGH else random.Random(1).sample(LINES, 3)


def test_every_pass_moves_more_by_what_is_known() -> None:
    """Else a term has changed: where it is meant, ``python -m tests.costs.moved_numbers``."""
    found = [(line, moved_numbers.counted(line) - line["moved"]) for line in LINES]
    assert [(line, now) for line, now in found if now != line["more"]] == []


def test_where_nothing_is_repeated_they_are_equal() -> None:
    """One matrix of queries, keys and values, as many keys as queries, no experts, no scan."""
    equal = {line["model"] for line in LINES if not line["more"]}
    assert {"gpt2", "pythia-70m", "gptj", "minicpm3", "bert", "electra", "rwkv", "t5"} <= equal
    assert {line["model"] for line in LINES} >= set(ROWS)


@pytest.mark.parametrize("line", ASKED, ids=lambda line: line["model"])
def test_a_module_still_moves_as_many(line: moved_numbers.Line) -> None:
    assert moved_numbers.moved_by_module(line) == line["moved"]
