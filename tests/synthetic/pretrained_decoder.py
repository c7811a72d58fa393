"""Records of a pretrained decoder with memory and without, for tests of its page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.recipes import READ
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
    MEMORY,
    UNTOUCHED,
    LanguageRecord,
)
from tests.synthetic.language import baseline, curve, shifted

SIZES = {256: 192, 512: 448}
CONTEXTS = {256: (64, 280, 752), 512: (64, 536, 1520)}
"""No more positions than a segment; the text of two and of four segments of 10 memory tokens."""


def way(
    size: int, memory: int, changed: str, seeds: Iterable[int] = SEEDS, **more: Any
) -> list[LanguageRecord]:
    """An RMT trained on 4 segments in one way."""
    found = []
    for seed in seeds:
        found += curve(
            READ,
            segment_size=size,
            memory_tokens=memory,
            block_tokens=SIZES[size],
            trained_segments=4,
            trained_weights=changed,
            name=f"{changed}-{size}-{memory}-{seed}",
            seed=seed,
            **more,
        )
    return found


def contexts(size: int, changed: str, **more: Any) -> list[LanguageRecord]:
    """Models without memory that read as much at once."""
    return [
        baseline(
            context,
            block_tokens=SIZES[size],
            trained_weights=changed,
            name=f"{changed}-context-{size}-{context}-{seed}",
            seed=seed,
            **more,
        )
        for context in CONTEXTS[size]
        for seed in SEEDS
    ]


def study() -> list[LanguageRecord]:
    """Both sizes, three memories of all weights, LoRA, memory alone, and none of each kind."""
    records = []
    for size in SIZES:
        for memory in (2, 10, 32):
            records += way(size, memory, ALL_WEIGHTS, shift=-0.05)
        records += way(size, 10, LORA, shift=-0.05) + way(size, 10, MEMORY, shift=0.5)
        for changed in (ALL_WEIGHTS, LORA, UNTOUCHED):
            records += contexts(size, changed)
    return records


def fixed(size: int, **more: Any) -> list[LanguageRecord]:
    """Trained on fixed lengths; worse at 16 segments than mixed ones, as in the paper."""
    found = []
    for seed in SEEDS:
        found += curve(
            READ,
            segment_size=size,
            memory_tokens=10,
            block_tokens=SIZES[size],
            trained_segments=4,
            trained_weights=ALL_WEIGHTS,
            trained_mixing=False,
            name=f"fixed-{size}-{seed}",
            shift=-0.05,
            seed=seed,
            **more,
        )
    return shifted(found, lambda one: 0.02 * (one.point.segments > 4))


def variants() -> list[LanguageRecord]:
    """LoRA with all that its memory can have, at input 256."""
    later: dict[str, Any] = {"trained_start_segments": 2}
    half: dict[str, Any] = {"trained_repeat_share": 0.5, "trained_repeat_until": 0.7}
    kinds = (
        {"sink_tokens": 1},
        later,
        {"sink_tokens": 1, **later},
        {"sink_tokens": 1, **later, **half},
        half,
    )
    return [
        record
        for number, more in enumerate(kinds)
        for record in named(f"v{number}", way(256, 10, LORA, **more))
    ]


def named(start: str, records: list[LanguageRecord]) -> list[LanguageRecord]:
    """Gives them weights of their own."""
    return [
        replace(one, point=replace(one.point, weights=f"{start}{one.point.weights}"))
        for one in records
    ]


def worsened(records: list[LanguageRecord]) -> list[LanguageRecord]:
    """Lets them lose from the second segment on."""
    return shifted(records, lambda one: 0.3 * (one.point.segments > 1))
