"""After a burn-in a sample begins with the segment that lost its answer, if there is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.evaluate import data_of, right_answers
from rmtscale.study.figures.memory_tasks.recipes import quick
from rmtscale.study.training.memory_tasks import replay
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.replay import (
    bisected_segments,
    cut_out,
    first_segments,
)
from rmtscale.study.training.metrics import Interval
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.rolling import Roller
from tests.study.training import asked_states
from tests.tiny_training import write_background

Make = Callable[..., MemoryObjective]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made up, because the text of Python takes its time."""
    return str(write_background(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def objective(background: str) -> Make:
    def make(task: str, **more: Any) -> MemoryObjective:
        more = {"batch_size": 6, "burn_in": (6,), "replay_lost": True, **more}
        settings = replace(quick(task), **more)
        return MemoryObjective(replace(settings, background=background, vocabulary_words=120))

    return make


def with_a_burn_in(made: MemoryObjective, count: int = 40) -> list[Batch]:
    current = len(made.stages) - 1
    batches = (made.batch(step, current) for step in range(count))
    return [batch for batch in batches if batch.constant]


@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_the_first_wrong_answer_after_the_fact_is_where_it_was_lost(
    segments: int, batch: int, data: st.DataObject
) -> None:
    right = np.array(
        data.draw(
            st.lists(
                st.lists(st.booleans(), min_size=batch, max_size=batch),
                min_size=segments,
                max_size=segments,
            )
        )
    )
    read = data.draw(st.lists(st.integers(0, segments + 2), min_size=batch, max_size=batch))
    found = first_segments(torch.from_numpy(right), torch.tensor(read)).tolist()
    for row in range(batch):
        lost = [one for one in range(segments) if one >= read[row] and not right[one, row]]
        assert found[row] == (lost[0] if lost else segments)


@given(st.integers(1, 40), st.integers(1, 4), st.data())
def test_bisection_finds_a_segment_after_which_the_answer_is_gone(
    segments: int, batch: int, data: st.DataObject
) -> None:
    """Asked is a model whose state is the answer itself, so that any pattern can be had."""
    row = st.lists(st.booleans(), min_size=segments, max_size=segments)
    right = data.draw(st.lists(row, min_size=batch, max_size=batch))
    read = data.draw(st.lists(st.integers(0, segments + 2), min_size=batch, max_size=batch))
    asked = 0

    class Asked:
        def autocast(self) -> nullcontext[None]:
            return nullcontext()

        def advance(self, state_BME: torch.Tensor, ids: object) -> tuple[Any, torch.Tensor]:
            nonlocal asked
            assert ids is ones
            asked += 1
            return None, state_BME

        def answer(self, read_BME: torch.Tensor) -> torch.Tensor:
            return torch.cat([1 - read_BME[:, 0], read_BME[:, 0]], dim=1)

    states = torch.tensor(right).T.float()[:, :, None, None]
    model: Any = Asked()
    ones = torch.ones(batch, dtype=torch.long)
    found = bisected_segments(model, model, states, ones, ones, torch.tensor(read)).tolist()
    assert asked == 1 + math.ceil(math.log2(segments))
    for known, fact, first in zip(right, read, found, strict=True):
        if fact >= segments or known[-1]:
            assert first == segments
        else:
            assert fact <= first < segments
            assert not known[first]
            assert first == fact or known[first - 1]


def test_states_are_asked_in_the_last_segment_of_the_input(objective: Make) -> None:
    """Held against reading every sample by itself, the last segment right after each state."""
    made = objective("reasoning", replay_asks_segment=True)
    learner, tokens = made.learner, made.learner.segment_tokens
    replayed = kept = 0
    for batch in with_a_burn_in(made, 12):
        ids, answers, state, *_ = made.inputs(batch, CPU)
        learner.eval()
        whole, _, read = batch.inputs
        for row in range(len(answers)):
            own, befores, known = learner.initial(1), [], []
            for segment in range(batch.constant):
                befores.append(own[0])
                piece = whole[row : row + 1, segment * tokens : (segment + 1) * tokens]
                with torch.no_grad():
                    _, own = learner.read(piece, own)
                    logits, _ = learner.read(whole[row : row + 1, -tokens:], own)
                known.append(int(logits.argmax()) == int(answers[row]))
            befores.append(own[0])
            ends = [
                one
                for one in range(int(read[row]), batch.constant)
                if not known[one] and (one == int(read[row]) or known[one - 1])
            ]
            firsts = ends if ends and not known[-1] else [batch.constant]
            chosen = [one for one in firsts if torch.allclose(state[row], befores[one], atol=1e-5)]
            assert chosen
            begun = whole[row, chosen[0] * tokens :][: ids.shape[1] - tokens]
            assert torch.equal(ids[row, :-tokens], begun)
            replayed += chosen[0] < batch.constant
            kept += chosen[0] == batch.constant
        learner.train()
    assert replayed, "an untrained model loses most"
    assert kept, "and guesses some, or has not read the fact"


def test_asking_in_a_segment_needs_a_replay(objective: Make) -> None:
    with pytest.raises(BadInput, match="replay asks segment without replay lost"):
        objective("reasoning", replay_lost=False, replay_asks_segment=True)


def test_a_replay_has_a_segment_before_the_one_that_asks(objective: Make) -> None:
    """One segment asks and replays nothing: begun before the fact, it could not be answered."""
    with pytest.raises(BadInput, match="replay lost with 1 segment: expected 2 or more"):
        objective("memorize", segments=1)
    for more in ({"segments": 2}, {"replay_lost": False}, {"burn_in": ()}):
        objective("memorize", **{"segments": 1, **more})


def test_the_last_segment_is_always_the_one_that_asks() -> None:
    ids = np.arange(2 * 7 * 10).reshape(2, 70)
    found = cut_out(ids, np.array([1, 4]), segments=3, segment_tokens=10)
    for row, first in enumerate((1, 4)):
        begun = ids[row, first * 10 : (first + 2) * 10].tolist()
        assert found[row].tolist() == begun + ids[row, 60:].tolist()
    # Begun where the burn-in of four ends, it is the end of the input.
    assert np.array_equal(found[1], ids[1, 40:])


@pytest.mark.parametrize(
    ("task", "rows_at_once"), [("memorize", 4096), ("detect-memorize", 12), ("reasoning", 1)]
)
def test_each_state_is_the_one_before_what_is_read(
    objective: Make, monkeypatch: pytest.MonkeyPatch, task: str, rows_at_once: int
) -> None:
    """Held against reading every sample by itself from its beginning, however many are asked
    together: all, those of two segments, of one."""
    monkeypatch.setattr(replay, "ROWS_AT_ONCE", rows_at_once)
    made = objective(task)
    learner, tokens = made.learner, made.learner.segment_tokens
    replayed = kept = 0
    for batch in with_a_burn_in(made, 12):
        ids, answers, state, *_ = made.inputs(batch, CPU)
        assert learner.training
        assert ids.shape[1] == made.stages[-1].tokens
        learner.eval()
        whole, _, read = batch.inputs
        question = whole[:, -made.data.question_tokens :]
        for row in range(len(answers)):
            first, own = batch.constant, None
            for segment in range(batch.constant):
                with torch.no_grad():
                    _, own = learner.read(whole[row : row + 1, : (segment + 1) * tokens])
                    logits, _ = learner.read(question[row : row + 1], own)
                wrong = int(logits.argmax()) != int(answers[row])
                if segment >= int(read[row]) and wrong:
                    first = segment
                    break
            before = learner.initial(1)[0]
            if first:
                with torch.no_grad():
                    before = learner.read(whole[row : row + 1, : first * tokens])[1][0]
            torch.testing.assert_close(state[row], before, rtol=1e-4, atol=1e-5)
            begun = whole[row, first * tokens :][: ids.shape[1] - tokens]
            assert torch.equal(ids[row, :-tokens], begun)
            assert torch.equal(ids[row, -tokens:], whole[row, -tokens:])
            replayed += first < batch.constant
            kept += first == batch.constant
        learner.train()
    assert replayed, "an untrained model loses most"
    assert kept, "and guesses some, or has not read the fact"


def test_without_a_replay_all_go_on_where_the_burn_in_ended(objective: Make) -> None:
    made = objective("reasoning", replay_lost=False)
    learner, tokens = made.learner, made.learner.segment_tokens
    batches = with_a_burn_in(made, 12)
    assert batches
    for batch in batches:
        ids, _, state = made.inputs(batch, CPU)
        whole, end = batch.inputs[0], batch.constant * tokens
        assert torch.equal(ids, whole[:, end:])
        learner.eval()
        with torch.no_grad():
            before = learner.read(whole[:, :end])[1]
        torch.testing.assert_close(state, before, rtol=1e-4, atol=1e-5)
        learner.train()


def test_nothing_is_lost_before_its_fact(objective: Make) -> None:
    """Elsewhere than in memorize, facts may come after the burn-in: these begin there."""
    made = objective("detect-memorize")
    batches = with_a_burn_in(made)
    late = [batch.inputs[2] >= batch.constant for batch in batches]
    assert any(bool(one.any()) for one in late)
    for batch, after in zip(batches, late, strict=True):
        ids, *_ = made.inputs(batch, CPU)
        end = batch.inputs[0][:, -ids.shape[1] :]
        assert torch.equal(ids[after], end[after])


def test_states_are_those_of_a_roll(objective: Make) -> None:
    made = objective("memorize")
    learner = made.learner.eval()
    tokens = learner.segment_tokens
    ids = with_a_burn_in(made)[0].inputs[0].numpy()[:, : 3 * tokens]
    bounds = [(0, tokens), (tokens, 2 * tokens), (2 * tokens, 3 * tokens)]
    roller, initial = Roller(learner, CPU), learner.initial(len(ids))
    found = roller.states(initial, ids, bounds)
    assert found.shape[0] == 4
    for count in range(1, 4):
        assert torch.equal(found[count], roller.roll(initial, ids, bounds[:count]))
    assert torch.equal(found[0], initial)


def test_a_burn_in_that_was_stopped_goes_on_to_the_same_losses(
    background: str, tmp_path: Path
) -> None:
    from rmtscale.study.training import loop

    settings = replace(
        quick("memorize"),
        background=background,
        vocabulary_words=120,
        replay_lost=True,
        batch_size=8,
        steps=24,
        log_every=4,
        validate_every=24,
        start_tokens=(),
        segments=2,
        stage_min_steps=4,
        stage_max_steps=4,
        validation_samples=8,
    )

    class Seen(loop.NullObserver):
        def __init__(self) -> None:
            self.losses: dict[int, float] = {}

        def interval(self, interval: Interval) -> None:
            self.losses[interval.step] = interval.loss

    whole, parts = Seen(), Seen()
    loop.train(settings, tmp_path / "whole", device="cpu", observer=whole)
    for _ in range(6):
        loop.train(settings, tmp_path / "parts", device="cpu", max_seconds=0, observer=parts)
    assert whole.losses == parts.losses
    assert len(whole.losses) == 6


def test_states_are_asked_both_ways(background: str) -> None:
    """Held against an evaluation, which asks at the end of a segment, same samples."""
    folder = Path("reports/figure-5/checkpoints/memorize-0")
    found = asked_states.ask(folder, background, segments=2, samples=8, batch_size=8)
    loaded = load_checkpoint(folder)
    tokens = loaded.answerer.segment_tokens
    batches = data_of(loaded, background).batches(
        3 * tokens, tokens, split="validation", batch_size=8
    )
    evaluated = right_answers(Reader(loaded.answerer, CPU), batches, 8)
    whole, alone = found["in a segment"], found["alone"]
    # The fact of this task stands in the first segment: eight samples have two states after it.
    assert whole.states == alone.states == 16
    assert whole.known == alone.known == sum(evaluated.right)
    # Noise of other words: a bare question errs, and calls lost what is not.
    assert alone.right < whole.right == 16
    assert alone.lost > whole.lost == 0
