"""Behind a burn-in the head tells of the facts that were read, and of none that is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.training.gradients import Gradients
from rmtscale.study.training.memory_tasks import objective
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.replay import told_cut_out
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.share import Share
from tests.rmt.stand_in_capture import StandInCapture
from tests.study.training.told_by_hand import told_by_hand
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
WEIGHT, SEGMENTS, ROWS = 0.7, 3, 4


def settings_of(background: Path, **more: Any) -> MemoryTaskSettings:
    usual = {
        "task": "reasoning",
        "backbone": "bert-tiny",
        "segment_size": 29,
        "segments": SEGMENTS,
        "batch_size": ROWS,
        "burn_in": (6,),
        "burn_in_share": 1.0,
        "current_stage_share": 1.0,
        "told_weight": WEIGHT,
        "told_after_burn_in": True,
    }
    return tiny_settings(background, **(usual | more))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MemoryObjective:
    """One model for all, in float64 and without dropout, whose numbers are large enough to see."""
    own = MemoryObjective(settings_of(write_background(tmp_path_factory.mktemp("text"))))
    torch.manual_seed(5)
    for parameter in own.learner.rmt.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    for module in own.learner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    own.learner.double()
    return own


@pytest.fixture
def changed(made: MemoryObjective) -> Iterator[MemoryObjective]:
    """The same model, for other settings of what is told and where the gradient begins."""
    before = made.settings
    yield made
    made.settings = before


def burnt_in(made: MemoryObjective, count: int, first: int = 0) -> list[Batch]:
    current = len(made.stages) - 1
    batches = [made.batch(step, current) for step in range(first, first + count)]
    return [batch for batch in batches if batch.constant]


def facts_in(made: MemoryObjective, text: list[int]) -> set[int]:
    """Found by their words, whatever any column says."""
    facts = [made.data.vocabulary.array(fact).tolist() for fact in made.data.task.all_facts()]
    return {index for index, fact in enumerate(facts) if spaced(fact) in spaced(text)}


def spaced(ids: list[int]) -> str:
    return " " + "".join(f"{word} " for word in ids)


def told_of_row(made: MemoryObjective, row_N: list[int], cut_N: list[int], seen: set[str]) -> float:
    """The loss of one sample of whose input a part is read with a gradient."""
    learner, size = made.learner, made.learner.segment_tokens
    middle = len(cut_N) - size
    first = next(
        at
        for at in range(len(row_N) // size)
        if row_N[at * size : at * size + middle] == cut_N[:middle]
    )
    state_1ME = learner.initial(1)
    for begin in range(0, first * size, size):
        state_1ME, _ = learner.step(state_1ME, torch.tensor([row_N[begin : begin + size]]))
    before = facts_in(made, row_N[: first * size])

    def known(end: int) -> list[tuple[int, int]]:
        return [(0, fact) for fact in before | facts_in(made, cut_N[:end])]

    told = before | facts_in(made, cut_N)
    seen |= {"before"} if before else set()
    seen |= {"inside"} if facts_in(made, cut_N[:middle]) else set()
    seen |= {"last"} if facts_in(made, cut_N[middle:]) else set()
    seen |= {"left out"} if facts_in(made, row_N) - told else set()
    seen |= {"all before"} if len(before) == 2 else set()
    seen |= {"none"} if not told else set()
    return told_by_hand(learner, cut_N, known, state_1ME)


def told_in(made: MemoryObjective, inputs: tuple[Any, ...]) -> float:
    """What the head adds; all else is as without it."""
    made.learner.eval()
    with torch.no_grad():
        plain, right = made.learner(*inputs[:3])
        loss, same, own, told = made.learner(*inputs)
    assert torch.equal(own, plain)
    assert torch.equal(same, right)
    assert float(loss - plain) == pytest.approx(WEIGHT * float(told), rel=1e-9, abs=1e-12)
    return float(told)


@pytest.mark.parametrize("replays", [False, True])
def test_the_loss_is_that_of_a_slow_loop(changed: MemoryObjective, replays: bool) -> None:
    changed.settings = replace(changed.settings, replay_lost=replays)
    seen: set[str] = set()
    for batch in burnt_in(changed, 4):
        inputs = changed.inputs(batch, CPU)
        rows, cuts = batch.inputs[0].tolist(), inputs[0].tolist()
        with torch.no_grad():
            samples = [
                told_of_row(changed, row, own, seen) for row, own in zip(rows, cuts, strict=True)
            ]
        expected = math.fsum(samples) / len(samples)
        assert abs(expected - math.log(len(changed.data.task.all_facts()))) > 1e-3
        assert told_in(changed, inputs) == pytest.approx(expected, rel=1e-7)
    assert seen >= {"before", "inside", "last", "all before"}
    assert ("left out" in seen) == replays


def test_a_sample_without_a_fact_to_tell_adds_nothing(
    changed: MemoryObjective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins with its first segment: those whose facts stand behind that tell of none."""
    changed.settings = replace(changed.settings, replay_lost=True)
    # The batch that has a sample whose facts stand in as late segments as any.
    batch = min(burnt_in(changed, 20), key=lambda one: int((one.inputs[-1] >= 0).sum((1, 2)).min()))
    first = torch.zeros(ROWS, dtype=torch.long)
    monkeypatch.setattr(objective, "first_segments", lambda *_: first)
    inputs, seen = changed.inputs(batch, CPU), set[str]()
    rows, cuts = batch.inputs[0].tolist(), inputs[0].tolist()
    with torch.no_grad():
        samples = [
            told_of_row(changed, row, own, seen) for row, own in zip(rows, cuts, strict=True)
        ]
    assert 0.0 in samples
    assert "none" in seen
    assert told_in(changed, inputs) == pytest.approx(math.fsum(samples) / ROWS, rel=1e-7)
    changed.learner.zero_grad()
    loss, *_ = changed.learner(*inputs)
    loss.backward()
    for name, parameter in changed.learner.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("lasts", [True, False])
def test_what_is_told_is_what_the_kept_text_says(lasts: bool) -> None:
    """Every cut, one after the other, of facts that stay true, and of a state that ends."""
    segments = 7
    random = np.random.default_rng(3)
    read_T = random.integers(0, segments + 1, 40)  # the segment that tells each, or none
    told_ST = np.where(read_T <= np.arange(segments)[:, None], np.arange(40), -1)
    for left in (1, 2, 3):
        for first in range(segments - left + 1):
            kept = [*range(first, first + left - 1), segments - 1]
            found = told_cut_out(told_ST[None], np.array([first]), left, lasts=lasts)[0].tolist()
            for own, segment in zip(found, kept, strict=True):
                lost = segment == segments - 1 and first + left < segments
                seen = {*range(first), *[at for at in kept if at <= segment]}
                facts = [at if read_T[at] in seen else -1 for at in range(40)]
                assert own == ([-1] * 40 if lost and not lasts else facts)
    assert told_ST.max() == 39, "what is given stays as it is"


def test_the_rest_of_a_batch_is_as_without_it(changed: MemoryObjective) -> None:
    """To the bit, with noise on the memory and the segment replayed; a batch without a burn-in has
    what it always had. Processes with rows of their own add up to the whole batch."""
    on = replace(changed.settings, replay_lost=True, memory_noise=0.5)
    for wanted in (on, replace(on, burn_in_share=0.0)):
        changed.settings = wanted
        batch = changed.batch(3, len(changed.stages) - 1)
        parts = [batch.part(Share(rank, 2), changed.scored) for rank in range(2)]
        told = changed.inputs(batch, CPU)
        own = [changed.inputs(part, CPU) for part in parts]
        changed.settings = replace(wanted, told_after_burn_in=False)
        before = changed.batch(3, len(changed.stages) - 1)
        plain = changed.inputs(before, CPU)
        assert bool(batch.constant) == (wanted is on)
        assert len(batch.inputs) - len(before.inputs) == (1 if batch.constant else 0)
        assert (batch.draw, batch.scored) == (before.draw, before.scored)
        assert len(plain) == (3 if batch.constant else 6)
        for one, other in zip(told, plain, strict=False):
            assert one is other is None or torch.equal(one, other)
        changed.learner.eval()
        with torch.no_grad():
            loss = changed.learner(*told)[0]
            losses = [
                part.weight * changed.learner(*inputs)[0]
                for part, inputs in zip(parts, own, strict=True)
            ]
        assert float(sum(losses)) / 2 == pytest.approx(float(loss), rel=1e-12)


def test_captured_steps_take_the_facts_of_each_batch(changed: MemoryObjective) -> None:
    """Two batches of one shape, of which the second is not captured but replayed."""
    changed.settings = replace(changed.settings, replay_lost=True)
    batches = [changed.inputs(batch, CPU) for batch in burnt_in(changed, 3)[:2]]
    assert not torch.equal(batches[0][-1], batches[1][-1])
    found = []
    for capture in (None, StandInCapture()):
        gradients = Gradients(changed.learner.eval(), torch.autograd.backward, capture=capture)
        for inputs in batches:
            told = gradients(*inputs).told_loss
            assert told is not None
            grads = {
                name: one.grad.clone()
                for name, one in changed.learner.named_parameters()
                if one.grad is not None
            }
            found.append((float(told), grads))
    for eager, captured in zip(found[:2], found[2:], strict=True):
        assert eager[0] == pytest.approx(captured[0], rel=1e-12)
        assert eager[1].keys() == captured[1].keys()
        for name, grad in eager[1].items():
            torch.testing.assert_close(captured[1][name], grad, rtol=1e-9, atol=1e-12)
    assert found[0][0] != found[1][0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"told_weight": 0.0}, "told after burn-in without told weight: expected a told weight"),
        ({"burn_in": ()}, "told after burn-in without burn-in: expected both or neither"),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        settings_of(Path("nowhere"), **values)
