"""Attention maps are those of the real backbone; probing finds what was put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.intervals import wilson_interval
from rmtscale.study.evaluation.attention import attention_maps
from rmtscale.study.evaluation.probe import broke_at, milestones, probe
from rmtscale.study.records.probe import Share
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def untrained(background: Path, **more: Any) -> tuple[Reader, TaskData]:
    settings = tiny_settings(background, **more)
    data = TaskData(settings)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    for parameter in answerer.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return Reader(answerer, CPU), data


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "bert-tiny", "gpt2-tiny", "modernbert-tiny"])
def test_attention_maps(background: Path, backbone: str) -> None:
    reader, data = untrained(background, backbone=backbone)
    length = reader.answerer.segment_tokens
    ids = data.batches(3 * length, length, batch_size=2).batch(0).ids
    before = reader.logits(ids)
    maps = attention_maps(reader, data.vocabulary, ids[0])
    assert [one.segment for one in maps] == [0, 1, 2]
    for one in maps:
        positions = len(one.labels)
        assert positions == 32
        assert one.weights.shape == (2, 4, 32, 32)
        np.testing.assert_allclose(one.weights.sum(-1), 1, rtol=1e-4)
        np.testing.assert_allclose(one.average().sum(-1), 1, rtol=1e-4)
    if reader.answerer.decoder:
        assert not np.triu(maps[0].weights[0, 0], 1).any()
        assert maps[0].labels[:3] == (
            "[read 0]",
            "[read 1]",
            data.vocabulary.decode([ids[0, 0]])[0],
        )
        assert maps[0].labels[-2:] == ("[write 0]", "[write 1]")
    else:
        assert maps[0].labels[:4] == ("[CLS]", "[mem 0]", "[mem 1]", "[SEP]")
    # The kernel it had before is back, and its numbers.
    assert reader.answerer.rmt.backbone.config._attn_implementation == "sdpa"
    torch.testing.assert_close(reader.logits(ids), before)
    with pytest.raises(BadInput, match="segment 3: expected 0 to 2"):
        attention_maps(reader, data.vocabulary, ids[0], [3])


def test_attention_is_of_the_state_that_was_read(background: Path) -> None:
    """Another first segment: another state, other attention in the second."""
    reader, data = untrained(background)
    length = reader.answerer.segment_tokens
    ids = data.batches(2 * length, length, batch_size=2).batch(0).ids
    other = ids.copy()
    other[0, :length] = ids[1, :length]
    (one,), (two,) = (
        attention_maps(reader, data.vocabulary, row, [1]) for row in (ids[0], other[0])
    )
    assert one.labels == two.labels
    assert not np.allclose(one.weights, two.weights, atol=1e-4)


def test_milestones() -> None:
    assert milestones(1) == [0]
    assert milestones(2) == [1]
    assert milestones(9) == [1, 2, 4, 8]
    assert milestones(16) == [1, 2, 4, 8, 15]


def test_probe_counts_every_sample(background: Path) -> None:
    reader, data = untrained(background, task="detect-memorize")
    length = reader.answerer.segment_tokens
    batches = data.batches(9 * length, length, split="validation", batch_size=20)
    found = probe(reader, batches, 40)
    assert (found.segments, found.samples) == (9, 40)
    for shares in (found.by_depth, found.by_place):
        assert sum(share.samples for share in shares) == 40
    assert [share.label for share in found.after_segments] == ["1", "2", "4", "8"]
    assert [share.samples for share in found.after_segments] == sorted(
        share.samples for share in found.after_segments
    )
    assert set(found.moved_share) == {"1", "2", "4", "8"}
    assert sum(at is None for at in found.broke_at) == sum(s.correct for s in found.by_depth)
    # Asked after all segments but the last is the real question.
    end = np.concatenate(
        [
            (reader.logits(batch.ids).argmax(1).numpy() == batch.answers)
            for batch in (batches.batch(0), batches.batch(1))
        ]
    )
    assert sum(share.correct for share in found.by_depth) == end.sum()


def test_a_frozen_memory_does_not_move(background: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, data = untrained(background)
    length = reader.answerer.segment_tokens
    batches = data.batches(5 * length, length, batch_size=8)
    kept = torch.randn(8, 2, 64)

    def frozen(state_BME: torch.Tensor, ids_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return kept, torch.zeros(8, 1, 64)

    monkeypatch.setattr(reader.answerer, "step", frozen)
    found = probe(reader, batches, 8)
    assert found.moved_share["2"] == found.moved_share["4"] == 0.0
    assert found.moved_share["1"] == 1.0


def test_where_it_broke() -> None:
    stops = [1, 2, 4, 8]
    row = np.array
    assert broke_at(row([True, True, True, True]), 1, stops) is None
    assert broke_at(row([True, True, False, False]), 1, stops) == 4
    assert broke_at(row([True, False, True, False]), 1, stops) == 8
    assert broke_at(row([False, False, False, False]), 4, stops) == 4


def test_share() -> None:
    low, high = wilson_interval(3, 4)
    assert Share(label="0", correct=3, samples=4, low=low, high=high).accuracy == 0.75
    assert (
        replace(Share(label="0", correct=3, samples=4, low=low, high=high), correct=4).accuracy == 1
    )
