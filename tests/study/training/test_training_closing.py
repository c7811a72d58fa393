"""After a burn-in more questions may be asked at the end, each answer with its own loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import cut
from rmtscale.study.figures.babilong.recipes import recipes
from rmtscale.study.tasks.babi import pool
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from tests.tiny_training import write_background

CPU = torch.device("cpu")


@pytest.fixture
def objective(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MemoryObjective]:
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    settings = replace(
        recipes(str(write_background(tmp_path_factory.mktemp("text"))))["quick-babilong-qa1-0"],
        task_options={"stories": "qa2", "ask_state": True},
        closing_questions=5,
        between_share=1.0,
        replay_lost=False,
        burn_in_share=1.0,
        batch_size=6,
    )
    yield MemoryObjective(settings)
    pool.load_pool.cache_clear()


def test_the_loss_is_that_of_all_questions_after_the_whole_input(
    objective: MemoryObjective,
) -> None:
    last = len(objective.stages) - 1
    batches = [objective.batch(step, last) for step in range(24)]
    batch = next(one for one in batches if one.constant > 1 and one.draw.closing)
    ids_BN, _, _, columns_BK, answers_BK = batch.inputs
    assert batch.scored == int((answers_BK >= 0).sum()) > 2 * len(ids_BN)
    learner = objective.learner.double()
    segment_tokens, total = learner.segment_tokens, ids_BN.shape[1]
    with_gradient = total - objective.stages[last].tokens
    assert int(columns_BK[answers_BK >= 0].min()) >= with_gradient
    with torch.no_grad():
        state_BME, reads = learner.initial(len(ids_BN)), []
        for begin, end in cut(total, segment_tokens):
            state_BME, read_BLE = learner.step(state_BME, ids_BN[:, begin:end].long())
            reads.append(read_BLE)
        hidden_BNE = torch.cat(reads, dim=1)
        head_CE = learner.rmt.get_output_embeddings().weight[learner.class_ids_C]
        losses = [
            F.cross_entropy(head_CE @ hidden_BNE[row, column], answer)
            for row, (columns, answers) in enumerate(zip(columns_BK, answers_BK, strict=True))
            for column, answer in zip(columns, answers, strict=True)
            if answer >= 0
        ]
        inputs = objective.inputs(batch, CPU)
        loss, _ = learner(*inputs)
    cut_BN, columns_BK = inputs[0], inputs[3]
    assert torch.equal(cut_BN, ids_BN[:, with_gradient:])
    assert torch.equal(columns_BK, batch.inputs[3] - with_gradient)
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_an_ordinary_burn_in_asks_once(objective: MemoryObjective) -> None:
    objective.settings = replace(objective.settings, between_share=0.0)
    last = len(objective.stages) - 1
    batch = next(one for one in (objective.batch(step, last) for step in range(24)) if one.constant)
    assert len(batch.inputs) == 3
    assert batch.scored == len(batch.inputs[0])
    assert len(objective.inputs(batch, CPU)) == 3


def test_noise_is_added_to_the_state_that_a_burn_in_leaves(objective: MemoryObjective) -> None:
    last = len(objective.stages) - 1
    batches = [objective.batch(step, last) for step in range(24)]
    plain = next(one for one in batches if one.constant and one.draw.closing)
    objective.settings = replace(objective.settings, memory_noise=0.4)
    noisy = objective.batch(plain.step, last)
    again = objective.batch(plain.step, last)
    for one, other in zip(noisy.inputs, again.inputs, strict=True):
        assert torch.equal(one, other), "a function of seed and step alone"
    noise_BME = noisy.inputs[3]
    rows = len(plain.inputs[0])
    assert noise_BME.shape == (rows, *objective.learner.initial(rows).shape[1:])
    assert bool((noise_BME.flatten(1).std(1) < 0.4 * 1.1).all())
    assert len(set(noise_BME.flatten(1).std(1).tolist())) == rows, "every sample has its own width"
    with torch.no_grad():
        _, _, noisy_BME, *noisy_asked = objective.inputs(noisy, CPU)
        objective.settings = replace(objective.settings, memory_noise=0.0)
        _, _, plain_BME, *plain_asked = objective.inputs(plain, CPU)
    torch.testing.assert_close(noisy_BME - plain_BME, noise_BME, atol=1e-5, rtol=0)
    for one, other in zip(noisy_asked, plain_asked, strict=True):
        assert torch.equal(one, other)
    other_step = next(one for one in batches if one.constant and one.step != plain.step).step
    objective.settings = replace(objective.settings, memory_noise=0.4)
    assert not torch.equal(objective.batch(other_step, last).inputs[3], noise_BME)


@pytest.mark.parametrize(("noise", "burn_in"), [(-0.1, (4,)), (1.5, (4,)), (0.3, ())])
def test_noise_that_is_no_width_or_nowhere_is_refused(
    noise: float, burn_in: tuple[int, ...]
) -> None:
    with pytest.raises(BadInput, match=f"memory noise {noise}"):
        replace(recipes("python")["quick-babilong-qa1-0"], memory_noise=noise, burn_in=burn_in)
