"""How an input is cut: every token once, no segment over its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence


@given(st.integers(1, 10**7), st.integers(1, 4000), st.integers(0, 40), st.booleans())
def test_every_token_is_in_one_segment(
    size_extra: int, text: int, memory: int, encoder: bool
) -> None:
    model = PRESETS["bert-base-cased" if encoder else "pythia-70m"]
    overhead = memory + 3 if encoder else 2 * memory
    text = min(text, 512 - overhead) if encoder else text
    recurrence = Recurrence(text + overhead, memory)
    tokens = size_extra
    sizes = recurrence.segment_sizes(model, tokens)
    assert sum((size - overhead) * count for size, count in sizes) == tokens
    assert sum(count for _, count in sizes) == recurrence.segments(model, tokens)
    assert all(overhead < size <= recurrence.segment_size for size, _ in sizes)
    assert [size for size, _ in sizes] == sorted((size for size, _ in sizes), reverse=True)


def test_the_papers_segments() -> None:
    """512 = 499 text + 10 memory + 3 special (BERT); 1000 = 996 text + 2x2 memory (GPT-2)."""
    assert Recurrence(512, 10).segment_tokens(PRESETS["bert-base-cased"]) == 499
    assert Recurrence(1000, 2).segment_tokens(PRESETS["gpt2"]) == 996
    assert Recurrence(500, 2).segment_tokens(PRESETS["gpt2"]) == 496


@pytest.mark.parametrize(
    ("size", "memory", "message"),
    [
        (20, 10, "segment size 20: expected more than 20"),
        (2000, 2, "segment size 2000: expected 1024 or less, the position table of gpt2"),
        (0, 2, "segment size 0: expected a whole number of 1 or more"),
        (512, -1, "memory tokens -1: expected 0 or more"),
    ],
)
def test_segments_that_cannot_be(size: int, memory: int, message: str) -> None:
    with pytest.raises(BadInput) as error:
        Recurrence(size, memory).segment_tokens(PRESETS["gpt2"])
    assert message in str(error.value)


@pytest.mark.parametrize("tokens", [0, -5, 2.0, True])
def test_lengths_that_cannot_be(tokens: int) -> None:
    with pytest.raises(BadInput, match="expected a whole number of 1 or more"):
        Recurrence(512, 10).segment_sizes(PRESETS["gpt2"], tokens)
