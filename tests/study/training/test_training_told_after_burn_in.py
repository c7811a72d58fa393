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
from rmtscale.rmt.segmenting import cut
from rmtscale.study.training.gradients import Gradients
from rmtscale.study.training.memory_tasks import objective
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.replay import cut_out, kept_columns
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.share import Share
from tests.rmt.stand_in_capture import StandInCapture
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


def told_by_hand(
    made: MemoryObjective, row_N: list[int], cut_N: list[int], seen: set[str]
) -> float:
    """One number after another, for one sample of whose input a part is read with a gradient."""
    learner: Any = made.learner
    head, size = learner.fact_head, learner.segment_tokens
    middle = len(cut_N) - size
    first = next(
        at
        for at in range(len(row_N) // size)
        if row_N[at * size : at * size + middle] == cut_N[:middle]
    )
    state_1ME = learner.initial(1)
    for begin in range(0, first * size, size):
        state_1ME, _ = learner.step(state_1ME, torch.tensor([row_N[begin : begin + size]]))
    before, losses = facts_in(made, row_N[: first * size]), []
    for begin, end in cut(len(cut_N), size):
        state_1ME, _ = learner.step(state_1ME, torch.tensor([cut_N[begin:end]]))
        state = [10 * float(x) for x in state_1ME.flatten()]
        logits = [
            math.fsum(x * w for x, w in zip(state, own, strict=True)) + float(bias)
            for own, bias in zip(head.weight.tolist(), head.bias, strict=True)
        ]
        whole = math.log(math.fsum(map(math.exp, logits)))
        known = before | facts_in(made, cut_N[:end])
        if known:
            losses.append(math.fsum(whole - logits[fact] for fact in known) / len(known))
    told = before | facts_in(made, cut_N)
    seen |= {"before"} if before else set()
    seen |= {"inside"} if facts_in(made, cut_N[:middle]) else set()
    seen |= {"last"} if facts_in(made, cut_N[middle:]) else set()
    seen |= {"left out"} if facts_in(made, row_N) - told else set()
    seen |= {"all before"} if len(before) == 2 else set()
    seen |= {"none"} if not told else set()
    return math.fsum(losses) / len(losses) if losses else 0.0


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
                told_by_hand(changed, row, own, seen) for row, own in zip(rows, cuts, strict=True)
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
    batch = max(burnt_in(changed, 20), key=lambda one: int(one.inputs[-1].min(1).values.max()))
    first = torch.zeros(ROWS, dtype=torch.long)
    monkeypatch.setattr(objective, "first_segments", lambda *_: first)
    inputs, seen = changed.inputs(batch, CPU), set[str]()
    rows, cuts = batch.inputs[0].tolist(), inputs[0].tolist()
    with torch.no_grad():
        samples = [
            told_by_hand(changed, row, own, seen) for row, own in zip(rows, cuts, strict=True)
        ]
    assert 0.0 in samples
    assert "none" in seen
    assert told_in(changed, inputs) == pytest.approx(math.fsum(samples) / ROWS, rel=1e-7)
    changed.learner.zero_grad()
    loss, *_ = changed.learner(*inputs)
    loss.backward()
    for name, parameter in changed.learner.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


def test_columns_move_with_the_text_that_is_kept() -> None:
    """Every column of every cut, one after the other: it holds what it held, or is not there."""
    size, segments = 4, 7
    tokens = segments * size
    ids_BN = np.arange(tokens)[None]
    for left in (1, 2, 3):
        for first in range(segments - left + 1):
            own = cut_out(ids_BN, np.array([first]), left, size)[0].tolist()
            for column in range(tokens):
                kept = kept_columns(np.array([[column]]), np.array([first]), tokens, left, size)
                found = int(kept[0, 0])
                if column in own:
                    assert found == own.index(column)
                else:
                    assert found == (-1 if column < first * size else left * size)


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
        assert len(batch.inputs) - len(before.inputs) == (2 if batch.constant else 0)
        assert (batch.draw, batch.scored) == (before.draw, before.scored)
        assert len(plain) == (3 if batch.constant else 7)
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
