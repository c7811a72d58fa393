"""How the paper's inputs are cut: sizes, text per segment, and what 4096 segments hold."""

from __future__ import annotations

import pytest

from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence

# figure, model, segment size, memory tokens, text tokens in a segment
SEGMENTS = [
    ("3 to 6", "bert-base-cased", 512, 10, 499),
    ("7a, 12", "gpt2", 128, 2, 124),
    ("7b", "gpt2", 1024, 2, 1020),
    ("9", "gpt-neo-1.3b", 2048, 10, 2028),
    ("10", "gpt2", 500, 2, 496),
    ("10", "gpt2", 1000, 2, 996),
]


@pytest.mark.parametrize(("figure", "model", "size", "memory", "text"), SEGMENTS)
def test_text_in_a_segment(figure: str, model: str, size: int, memory: int, text: int) -> None:
    assert Recurrence(size, memory).segment_tokens(PRESETS[model]) == text


def test_two_million_tokens_are_4096_segments() -> None:
    bert, recurrence = PRESETS["bert-base-cased"], Recurrence(512, 10)
    assert 4096 * recurrence.segment_tokens(bert) == 2_043_904
    assert recurrence.segments(bert, 2_043_904) == 4096
    assert recurrence.segments(bert, 2_043_905) == 4097
    assert recurrence.segments(bert, 998) == 2
