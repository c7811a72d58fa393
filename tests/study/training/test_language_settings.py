"""LanguageSettings: what follows from them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.study.training.language.settings import LanguageSettings


def test_an_rmt_scores_its_last_segment() -> None:
    one = LanguageSettings(segment_size=128, memory_tokens=2, segments=7)
    assert one.segment_tokens == one.scored_tokens == 124
    assert one.least_history_tokens == 6 * 124


def test_a_baseline_scores_the_same_tokens_with_the_context_in_its_segment() -> None:
    one = LanguageSettings(segment_size=128, memory_tokens=0, segments=1, block_tokens=124)
    assert (one.segment_tokens, one.scored_tokens, one.least_history_tokens) == (128, 124, 4)


def test_there_and_back() -> None:
    one = LanguageSettings(segments=3, lora_rank=8, task_options={"order": "statement-last"})
    assert from_mapping(LanguageSettings, to_mapping(one)) == one


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "memorize"}, "task 'memorize'"),
        ({"block_tokens": 125}, "block tokens 125: expected 124 or less"),
        ({"history_tokens": -1}, "history tokens -1"),
        ({"lora_rank": 0}, "lora rank 0"),
        ({"sink_tokens": 2}, "sink tokens 2 of 2 memory tokens: expected 0 to 1, so that one"),
        ({"sink_tokens": -1}, "sink tokens -1 of 2 memory tokens: expected 0 to 1"),
        ({"sink_tokens": 1, "memory_tokens": 0}, "sink tokens 1 of 0 memory tokens: expected 0$"),
        ({"stage_steps": 0}, "stage steps 0"),
        ({"segment_size": 0}, "segment size 0"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"seed": 2**31}, "seed 2147483648: expected 0 to"),
        ({"beta2": 1.5}, r"beta2 1\.5: expected 0 or more, below 1"),
        (
            {"task": "lemma-proof", "block_tokens": 64},
            "block tokens 64 with lemma-proof: expected none, all is scored",
        ),
        ({"task": "lemma-proof", "history_tokens": 0}, "history tokens 0 with lemma-proof"),
        ({"warmup_steps": -5}, "warmup steps -5: expected 0 or more"),
    ],
)
def test_what_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LanguageSettings(**given)


def test_all_of_a_lemma_proof_is_scored() -> None:
    proof = LanguageSettings(task="lemma-proof", segment_size=128, memory_tokens=2)
    block = LanguageSettings(segment_size=128, memory_tokens=0, block_tokens=100)
    assert (proof.scored_tokens_of(3), block.scored_tokens_of(3)) == (3 * 124, 100)
