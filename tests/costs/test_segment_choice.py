"""The recommended segment size: which are possible, which fit, and which are taken for equal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rmtscale.costs import segment_choice
from rmtscale.costs.segment_choice import SEGMENT_SIZES, possible_segment_sizes, recommend_segment
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.workload import Workload

A100 = find_device("a100-80gb")
ROOM, AMPLE = A100.usable_memory_bytes, A100.ample_memory_bytes


def test_the_text_is_most_of_a_segment() -> None:
    """A decoder's segment begins and ends with its memory: four times both is the least."""
    assert SEGMENT_SIZES == (128, 256, 512, 1024, 2048, 4096)
    llama, gpt2, bert = (PRESETS[name] for name in ("llama-3-8b", "gpt2", "bert-base-cased"))
    assert possible_segment_sizes(llama, 16) == [128, 256, 512, 1024, 2048, 4096]
    assert possible_segment_sizes(llama, 17) == [256, 512, 1024, 2048, 4096]
    assert possible_segment_sizes(gpt2, 10) == [128, 256, 512, 1024]
    assert possible_segment_sizes(bert, 29) == [128, 256, 512]
    assert possible_segment_sizes(bert, 30) == [256, 512]


def chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], peaks: dict[int, int]
) -> tuple[int, str]:
    """The choice where time and memory of each size are given."""

    def time_of(_model: Any, _work: Any, _device: Any, design: Any) -> Any:
        return SimpleNamespace(seconds=seconds[design.segment_size])

    def memory_of(_model: Any, work: Any, design: Any, _device: Any) -> Any:
        assert work.checkpoint_segments
        assert not work.checkpoint_layers
        return SimpleNamespace(total=peaks[design.segment_size])

    monkeypatch.setattr(segment_choice, "estimate_time", time_of)
    monkeypatch.setattr(segment_choice, "estimate_memory", memory_of)
    work = Workload(tokens=9000, mode="train", checkpoint_layers=True)
    found = recommend_segment(PRESETS["gpt2"], work, 10, A100)
    assert found.recurrence.memory_tokens == 10
    return found.recurrence.segment_size, found.reason


def test_the_longest_of_those_within_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = dict.fromkeys(SEGMENT_SIZES, AMPLE)
    for times, best in (
        ((1.0, 1.0, 1.0, 1.0), 1024),
        ((1.0, 1.1, 1.101, 1.2), 256),
        ((1.3, 1.0, 1.0999, 1.1001), 512),
        ((1.0, 2.0, 2.0, 1.05), 1024),
        ((1.0, 1.5, 1.5, 1.5), 128),
    ):
        seconds = dict(zip(SEGMENT_SIZES, times, strict=False))
        assert chosen(monkeypatch, seconds, peaks)[0] == best


def test_what_fits_amply_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then what fits at all; where nothing does, what needs the least."""
    seconds = {128: 1.0, 256: 1.0, 512: 1.0, 1024: 1.0}
    for sizes, best, words in (
        ((AMPLE, AMPLE, AMPLE + 1, ROOM), 256, "with 3.0 % to spare"),
        ((AMPLE + 1, AMPLE + 1, ROOM, ROOM + 1), 512, "fits into 79.25 GiB and takes at most 10 %"),
        ((ROOM + 3, ROOM + 2, ROOM + 1, ROOM + 2), 512, "none from 128 to 1024 fits"),
    ):
        peaks = dict(zip(SEGMENT_SIZES, sizes, strict=False))
        size, reason = chosen(monkeypatch, seconds, peaks)
        assert (size, words in reason) == (best, True), reason
