"""Changes of the memory against a loop over single segments, and the rule for the dead band."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.study.evaluation.memory_changes import (
    QUANTILES,
    batch_size_of,
    choose,
    kinds_of,
    measure_changes,
    training_noise,
    usual_sizes,
)
from rmtscale.study.tasks.babi import pool
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
SEGMENTS = 10


@pytest.fixture(scope="module", params=["gpt-neox-tiny", "modernbert-tiny"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, str]:
    """A checkpoint, and the noise that it was trained with."""
    folder = tmp_path_factory.mktemp("run")
    background = write_background(tmp_path_factory.mktemp("text"))
    settings = tiny_settings(
        background, backbone=request.param, task="detect-memorize", steps=8, fact_fragments=0.2
    )
    train(settings, folder, device="cpu")
    return load_checkpoint(folder / LAST), str(background)


@pytest.fixture
def checkpoint(made: tuple[Checkpoint, str]) -> Checkpoint:
    return made[0]


@pytest.fixture
def data(made: tuple[Checkpoint, str]) -> TaskData:
    return training_noise(*made)


@pytest.fixture
def batches(checkpoint: Checkpoint, data: TaskData) -> Batches:
    size = checkpoint.answerer.segment_tokens
    return data.batches(SEGMENTS * size, size, batch_size=8, seed=3)


@pytest.mark.parametrize("sinks", [0, 1])
@torch.no_grad()
def test_they_are_those_of_one_segment_after_another(
    checkpoint: Checkpoint, batches: Batches, sinks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.answerer.rmt.config, "sink_tokens", sinks)
    found = measure_changes(Reader(checkpoint.answerer, CPU), batches, 15)
    size, settled, fact = batches.segment_tokens, [], []
    for index in range(2):
        batch = batches.batch(index)
        for row in range(8):
            ids = torch.from_numpy(batch.ids[row : row + 1]).long()
            (position,) = batch.fact_positions[row]
            state = checkpoint.answerer.initial(1)
            for segment in range(SEGMENTS - 1):
                text = ids[:, segment * size : (segment + 1) * size]
                new = checkpoint.answerer.step(state, text)[0]
                change = (new - state)[:, sinks:].abs().flatten().numpy()
                if segment * size <= position < (segment + 1) * size:
                    fact.append(change)
                elif segment * size > position and segment - position // size > 4:
                    settled.append(change)
                state = new
    for kind, wanted in ((found.settled, settled), (found.fact, fact)):
        numbers = np.concatenate(wanted)
        assert kind.numbers == len(numbers)
        assert kind.quantiles == pytest.approx(np.quantile(numbers, QUANTILES), abs=1e-5)
    assert found.dead_band == choose(np.concatenate(settled), np.concatenate(fact))


def test_noise_is_training_text_without_fact_fragments(
    checkpoint: Checkpoint, batches: Batches
) -> None:
    assert checkpoint.settings.fact_fragments == 0.2
    assert batches.fact_fragments is None
    assert batches.task.split == "train"


def test_settled_is_from_the_fifth_segment_after_a_fact() -> None:
    bounds = [(0, 3), *((start, start + 5) for start in range(3, 38, 5))]
    positions = np.array([[0, 2], [4, 0], [37, 0], [37, 37], [2, 32]])
    settled, fact = kinds_of(positions, bounds)
    assert settled.shape == fact.shape == (7, 5)
    assert [np.flatnonzero(column).tolist() for column in settled.T] == [
        *([5, 6], [6], [5, 6], [], [5])  # the last: between two facts, and noise that comes first
    ]
    assert [np.flatnonzero(column).tolist() for column in fact.T] == [[0], [0, 1], [0], [], [0, 6]]


def test_settled_and_facts_as_a_loop_tells_them() -> None:
    random = np.random.default_rng(1)
    bounds = [(start, start + 7) for start in range(0, 7 * 40, 7)]
    positions = random.integers(0, 7 * 40, size=(50, 6))
    settled, fact = kinds_of(positions, bounds)
    for row, own in enumerate(positions):
        segments = {int(at) // 7 for at in own}
        for segment in range(39):
            window = range(segment - 4, segment + 1)
            quiet = segments.isdisjoint(window) and min(segments) < segment
            assert settled[segment, row] == quiet
            assert fact[segment, row] == (segment in segments)
    assert 0 < settled.sum() < settled.size


def test_samples_grow_with_the_facts_of_a_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much is read of each task, and in any of them noise settles between the facts."""
    assert usual_sizes(make_task("memorize")) == (16, 32)
    crowded = make_task("detect-memorize", persons=7, distractors=9)
    assert crowded.facts_per_story == 10
    assert usual_sizes(crowded) == (20, 25)
    monkeypatch.setattr(pool, "STORIES", {"train": 300, "validation": 40})
    pool.load_pool.cache_clear()
    random = np.random.default_rng(2)
    found = {}
    for stories in QAS:
        task = make_task("babilong", stories=stories)
        mean = sum(len(task.story(random).facts) for _ in range(2000)) / 2000
        segments, samples = found[stories] = usual_sizes(task)
        assert segments == 16 or segments == pytest.approx(2 * mean, rel=0.1)
        assert samples == max(512 // segments, 4)
        # Facts anywhere, as far as sentences allow it.
        settled = 0
        bounds = [(start, start + 100) for start in range(0, 100 * segments, 100)]
        for _ in range(samples):
            facts = len(task.story(random).facts)
            positions = random.integers(0, 100 * segments, size=(1, facts))
            settled += kinds_of(positions, bounds)[0].sum()
        assert settled >= 10, stories
    pool.load_pool.cache_clear()
    assert found["qa4"] == (16, 32)
    assert found["qa2"][0] > 16
    assert found["qa3"][0] > 2 * found["qa2"][0]


def test_batches_are_whole() -> None:
    for samples in range(1, 200):
        rows = batch_size_of(samples)
        assert 1 <= rows <= 16
        batches = -(-samples // rows)
        assert batches == -(-samples // 16)
        assert samples <= batches * rows < samples + batches


def test_the_rule() -> None:
    noise = np.full(10_000, 0.01, dtype=np.float32)
    noise[:100] = 0.12
    fact = np.linspace(0, 2, 1001).astype(np.float32)
    assert choose(noise, fact) == 0.35  # the square root of 0.12 is 0.346
    assert choose(noise, fact / np.float32(6)) == 0.15  # 0.1414
    assert choose(noise, fact / np.float32(7)) is None, "0.1309 is nearer to 0.15, above 0.143"
    assert choose(noise, fact / np.float32(9)) is None, "noise changes more than a fact"
    assert choose(noise[100:], fact) == 0.1


def test_what_cannot_be_measured(checkpoint: Checkpoint, data: TaskData, batches: Batches) -> None:
    reader, size = Reader(checkpoint.answerer, CPU), batches.segment_tokens
    with pytest.raises(BadInput, match="segments 6: expected 7 or more"):
        measure_changes(reader, data.batches(6 * size, size, batch_size=2), 2)
    late = data.batches(7 * size, size, batch_size=1, seed=1)
    assert late.batch(0).fact_positions.min() >= 2 * size
    with pytest.raises(CheckFailed, match="no segment of settled noise in samples of 7 segments"):
        measure_changes(reader, late, 1)
    checkpoint.answerer.rmt.set_dead_band(0.3)
    try:
        with pytest.raises(BadInput, match=r"dead band 0\.3: expected 0 while it is chosen"):
            measure_changes(reader, batches, 8)
    finally:
        checkpoint.answerer.rmt.set_dead_band(0)
