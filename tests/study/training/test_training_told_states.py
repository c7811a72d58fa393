"""A head tells from the memory where everybody and every object of a BABILong story is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.rmt.segmenting import cut
from rmtscale.study.tasks.babi import pool
from rmtscale.study.training.layout import METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.share import Share
from tests.study.training.told_by_hand import told_by_hand
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
PLACES, WEIGHT = 6, 0.7


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryTaskSettings]:
    """A training on a few stories of qa2, in segments that facts straddle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
        pool.load_pool.cache_clear()
        more: dict[str, Any] = {
            "task": "babilong",
            "task_options": {"stories": "qa2", "ask_state": True},
            "segment_size": 56,
            "segments": 3,
            "start_tokens": (120,),
            "batch_size": 6,
            "between_share": 0.5,
            "closing_questions": 3,
            "told_weight": WEIGHT,
        }
        yield tiny_settings(write_background(tmp_path_factory.mktemp("text")), **more)
        pool.load_pool.cache_clear()


@pytest.fixture(scope="module")
def model(settings: MemoryTaskSettings) -> MemoryObjective:
    own = MemoryObjective(settings)
    own.learner.double()
    return own


@pytest.fixture
def made(model: MemoryObjective) -> Iterator[MemoryObjective]:
    """The same model, for other settings of what is told."""
    before = model.settings
    yield model
    model.settings = before


def stated(
    learner: Answerer, tokens: int, states: list[list[int]], end: int
) -> list[tuple[int, int]]:
    """What is known after the segment that ends there."""
    ends = [last for _, last in cut(tokens, learner.segment_tokens)]
    places = states[ends.index(end)]
    return [(entry, place) for entry, place in enumerate(places) if place >= 0]


def test_a_batch_brings_its_states(made: MemoryObjective) -> None:
    """But none behind a burn-in; what is read and right is that of weight 0, and parts of a batch
    add up to it."""
    learner, current, on = made.learner, len(made.stages) - 1, made.settings
    seen = set()
    for step in range(12):
        batch, inputs = made.batch(step, current), made.inputs(made.batch(step, current), CPU)
        made.settings = replace(on, told_weight=0.0)
        before = made.batch(step, current)
        usual = made.inputs(before, CPU)
        made.settings = on
        kind = batch.constant > 0, batch.draw.asks_more
        if kind in seen:
            continue
        seen.add(kind)
        assert (batch.draw, batch.scored) == (before.draw, before.scored)
        assert len(batch.inputs) - len(before.inputs) == (batch.constant == 0)
        for one, other in zip(inputs, usual, strict=False):
            assert one is other is None or torch.equal(one, other)
        if batch.constant:
            assert len(inputs) == len(usual) == (5 if batch.draw.asks_more else 3)
            continue
        told_BST = inputs[-1]
        assert (told_BST[:, -1] >= 0).any(1).all(), "something is known in the end"
        learner.eval()
        with torch.no_grad():
            loss, right, own, told = learner(*inputs)
            answers, same = learner(*inputs[:5])
            each = [
                told_by_hand(
                    learner,
                    ids,
                    partial(stated, learner, len(ids), told_BST[row].tolist()),
                )
                for row, ids in enumerate(inputs[0].tolist())
            ]
        assert right == same
        assert float(own) == pytest.approx(float(answers), rel=1e-12)
        counts = [1] * len(each) if inputs[4] is None else (inputs[4] >= 0).sum(1).tolist()
        expected = math.fsum(map(math.prod, zip(each, counts, strict=True))) / sum(counts)
        assert float(told) == pytest.approx(expected, rel=1e-9)
        assert float(told) == pytest.approx(math.log(PLACES), rel=0.2)
        parts = [batch.part(Share(rank, 2), made.scored) for rank in range(2)]
        mine = [made.inputs(part, CPU) for part in parts]
        learner.eval()
        with torch.no_grad():
            losses = [part.weight * learner(*own)[0] for part, own in zip(parts, mine, strict=True)]
        assert float(sum(losses)) / 2 == pytest.approx(float(loss), rel=1e-12)
    assert {(False, True), (True, True)} <= seen


def test_a_training_tells_of_what_it_reads_with_a_gradient(
    settings: MemoryTaskSettings, tmp_path: Path
) -> None:
    """In the first step as a head that knows nothing, and behind a burn-in not at all."""
    short = replace(settings, steps=8, log_every=1, stage_min_steps=1, stage_max_steps=1)
    short = replace(short, validate_every=8, burn_in_share=1.0)
    assert train(short, tmp_path / "run", device="cpu").finished
    found = read_metrics(tmp_path / "run" / METRICS)
    behind = [one for one in found if "burn-in" in one.stage_name]
    assert any(one.told_loss is None for one in behind)
    assert all(one.told_loss for one in found if one not in behind)
    assert found[0].told_loss == pytest.approx(math.log(PLACES), rel=0.1)
