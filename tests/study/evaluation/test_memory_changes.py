"""Changes of the memory against a loop over single segments, and the rule for the dead band."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.study.evaluation.memory_changes import (
    QUANTILES,
    choose,
    kinds_of,
    measure_changes,
    training_noise,
)
from rmtscale.study.tasks.batches import Batches
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


@torch.no_grad()
def test_they_are_those_of_one_segment_after_another(
    checkpoint: Checkpoint, batches: Batches
) -> None:
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
                change = (new - state).abs().flatten().numpy()
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


def test_settled_is_from_the_fifth_segment_after_the_last_fact() -> None:
    bounds = [(0, 3), *((start, start + 5) for start in range(3, 38, 5))]
    positions = np.array([[0, 2], [4, 0], [37, 0], [7, 33]])
    settled, fact = kinds_of(positions, bounds)
    assert settled.shape == fact.shape == (7, 4)
    assert [np.flatnonzero(column).tolist() for column in settled.T] == [[5, 6], [6], [], []]
    assert [np.flatnonzero(column).tolist() for column in fact.T] == [[0], [0, 1], [0], [1]]


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
