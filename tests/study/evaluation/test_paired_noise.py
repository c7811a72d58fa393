"""Stories read twice: what the noise loses, and what drifts by itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation.paired_noise import pair_noise, paired_noise_test, state_distances
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.tiny_training import tiny_settings, write_background


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> MemoryTaskSettings:
    background = write_background(tmp_path_factory.mktemp("text"))
    return tiny_settings(background, task="detect-memorize", task_options={"placement": "start"})


@pytest.fixture
def reader(settings: MemoryTaskSettings) -> Reader:
    torch.manual_seed(0)
    return Reader(MemoryObjective(settings).learner, torch.device("cpu"))


def some(
    settings: MemoryTaskSettings,
    reader: Reader,
    segments: int = 9,
    batch_size: int = 8,
    **more: Any,
) -> Batches:
    length = reader.answerer.segment_tokens
    data = TaskData(settings)
    return data.batches(segments * length, length, batch_size=batch_size, **more)


def test_pairs_share_first_and_last_segment_and_no_noise_between(
    settings: MemoryTaskSettings, reader: Reader
) -> None:
    length = reader.answerer.segment_tokens
    batch = some(settings, reader).batch(0)
    pairs = pair_noise(batch, length)
    first, second = pairs.ids[0::2], pairs.ids[1::2]
    assert np.array_equal(first, batch.ids[0::2])
    assert np.array_equal(second[:, :length], first[:, :length])
    assert np.array_equal(second[:, -length:], first[:, -length:])
    assert np.array_equal(second[:, length:-length], batch.ids[1::2, length:-length])
    assert (second[:, length:-length] != first[:, length:-length]).any(axis=1).all()
    assert np.array_equal(pairs.answers[1::2], batch.answers[0::2])
    assert not np.shares_memory(pairs.ids, batch.ids)


def test_counts_are_those_of_reading_one_by_one(
    settings: MemoryTaskSettings, reader: Reader
) -> None:
    batches = some(settings, reader)
    found = paired_noise_test(reader, batches, 7)
    assert found.stories == 8, "whole batches"
    assert [one.segments for one in found.milestones] == [2, 4, 8]
    length = reader.answerer.segment_tokens
    wrong = []
    for index in range(2):
        pairs = pair_noise(batches.batch(index), length)
        for ids, answer in zip(pairs.ids, pairs.answers, strict=True):
            wrong.append(int(reader.logits(ids[None]).argmax()) != answer)
    assert found.milestones[-1].right == 16 - sum(wrong)
    lost = list(zip(wrong[0::2], wrong[1::2], strict=True))
    assert found.both_lost == sum(a and b for a, b in lost)
    assert found.one_lost == sum(a != b for a, b in lost)
    assert found.milestones[0].moved == 0.0


def test_distances_are_those_of_every_pair() -> None:
    random = np.random.default_rng(3)
    state, settled = random.normal(size=(2, 8, 5))
    answers = np.array([0, 0, 1, 1, 0, 0, 2, 2])

    def distance(a: Iterable[float], b: Iterable[float]) -> float:
        return float(np.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))))

    others = [distance(state[i], state[j]) for i in range(8) for j in range(8) if i // 2 != j // 2]
    spread = sum(others) / len(others)
    moved = sum(distance(state[i], settled[i]) for i in range(8)) / 8
    apart = sum(distance(state[i], state[i + 1]) for i in range(0, 8, 2)) / 4
    nearest = [
        min(distance(state[i], state[j]) for j in range(8) if answers[i] != answers[j])
        for i in range(8)
    ]
    given = (torch.from_numpy(one) for one in (state, settled, answers))
    expected = (moved / spread, apart / spread, sum(nearest) / 8 / spread)
    assert state_distances(*given) == pytest.approx(expected)


@pytest.mark.parametrize("lost_to", ["nothing", "noise", "drift"])
def test_what_it_tells_apart(
    settings: MemoryTaskSettings, reader: Reader, lost_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made memory: it keeps the first segment, adds all noise, or goes its own way."""
    begin = reader.answerer.initial(8)[0]

    def step(state_BME: torch.Tensor, ids_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told_B = ids_BL.double().square().sum(1)
        read_BTE = torch.zeros(len(ids_BL), 1, state_BME.shape[2])
        if torch.equal(state_BME[0], begin):
            return (state_BME + told_B[:, None, None]).float(), read_BTE
        if lost_to == "noise":
            return (state_BME + told_B[:, None, None]).float(), read_BTE
        return state_BME * (1.5 if lost_to == "drift" else 1.0), read_BTE

    monkeypatch.setattr(reader.answerer, "step", step)
    found = paired_noise_test(reader, some(settings, reader), 4)
    last = found.milestones[-1]
    assert (last.apart > 0.1) == (lost_to == "noise")
    assert (last.moved > 0.1) == (lost_to != "nothing")
    if lost_to != "noise":
        assert last.apart == 0.0
        assert found.one_lost == 0


def test_bad_input(settings: MemoryTaskSettings, reader: Reader) -> None:
    with pytest.raises(BadInput, match="paired noise in 3 segments: expected 4 or more"):
        paired_noise_test(reader, some(settings, reader, segments=3), 4)
    for size in (2, 7):
        with pytest.raises(
            BadInput, match=f"paired noise in batches of {size}: expected an even number"
        ):
            paired_noise_test(reader, some(settings, reader, batch_size=size), 4)
    length = reader.answerer.segment_tokens
    elsewhere = TaskData(
        tiny_settings(Path(settings.background), task_options={"placement": "depth:0"})
    )
    batches = elsewhere.batches(5 * length, length, batch_size=8)
    assert len(cut(batches.tokens, length)) == 5
    with pytest.raises(BadInput, match="after the first segment: expected placement=start"):
        paired_noise_test(reader, batches, 4)
