"""A rolled-in sample begins with the segment that lost its answer; the others after the roll-in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import write_background

from rmtscale.errors import BadInput
from rmtscale.experiments.memory_tasks import quick
from rmtscale.training.memory_objective import MemoryObjective
from rmtscale.training.replay import cut_out, earlier_segments, first_segments
from rmtscale.training.rolling import Roller

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory) -> str:
    """Made up, because the text of Python takes its time."""
    return str(write_background(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def objective(background):
    def make(task: str, **more) -> MemoryObjective:
        more = {"batch_size": 6, "roll_in": (6,), "replay_lost": True, **more}
        settings = replace(quick(task), **more)
        return MemoryObjective(replace(settings, background=background, vocabulary_words=120))

    return make


@pytest.fixture
def lost_late(monkeypatch):
    """The answers of every other row are lost in the last segment of a roll-in; an untrained model
    would lose them at once."""

    def right_answers(answerer, roller, states, question, answers):
        right = torch.ones(states.shape[:2], dtype=torch.bool)
        right[-1, ::2] = False
        return right

    monkeypatch.setattr("rmtscale.training.memory_objective.right_answers", right_answers)


def rolled(made: MemoryObjective, count: int = 40):
    newest = len(made.stages) - 1
    batches = (made.batch(step, newest, 0, 1) for step in range(count))
    return [batch for batch in batches if batch.constant]


@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_the_first_wrong_answer_after_the_fact_is_where_it_was_lost(segments, batch, data):
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


@given(st.integers(1, 9), st.integers(1, 6), st.data())
def test_an_earlier_segment_lies_between_the_facts_and_the_loss(kept, batch, data):
    of = st.lists(st.integers(0, kept), min_size=batch, max_size=batch)
    first, settled = data.draw(of), data.draw(of)
    found = earlier_segments(torch.tensor(first), torch.tensor(settled), kept).tolist()
    for row in range(batch):
        if first[row] == kept or first[row] <= settled[row]:
            assert found[row] == first[row]
        else:
            assert settled[row] <= found[row] <= first[row]


def test_all_of_the_earlier_segments_are_begun_with():
    torch.manual_seed(0)
    found = earlier_segments(torch.full((4000,), 5), torch.full((4000,), 2), 9)
    counts = torch.bincount(found, minlength=9).tolist()
    assert sum(counts[2:6]) == 4000
    assert min(counts[2:6]) > 850  # 1,000 each


def test_the_last_segment_is_always_the_one_that_asks():
    ids = np.arange(2 * 7 * 10).reshape(2, 70)
    found = cut_out(ids, np.array([1, 4]), segments=3, segment_tokens=10)
    for row, first in enumerate((1, 4)):
        begun = ids[row, first * 10 : (first + 2) * 10].tolist()
        assert found[row].tolist() == begun + ids[row, 60:].tolist()
    # Begun where the roll-in of four ends, it is the end of the input.
    assert np.array_equal(found[1], ids[1, 40:])


@pytest.mark.parametrize("task", ["memorize", "detect-memorize", "reasoning"])
def test_each_state_is_the_one_before_what_is_read(objective, task):
    """Held against reading every sample by itself from its beginning."""
    made = objective(task)
    learner, tokens = made.learner, made.learner.segment_tokens
    replayed = kept = 0
    for batch in rolled(made, 12):
        ids, answers, state, *_ = made.inputs(batch, CPU)
        assert learner.training
        assert ids.shape[1] == made.stages[-1].tokens
        learner.eval()
        whole, _, read, _ = batch.inputs
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


def test_what_begins_earlier_has_its_own_state_and_text(objective, lost_late):
    """And what is not lost begins as before."""
    plain, made = (objective("memorize", drift_weight=1.0, replay_earlier=x) for x in (False, True))
    made.learner.load_state_dict(plain.learner.state_dict())
    tokens = made.learner.segment_tokens
    earlier = 0
    for batch in rolled(made, 24):
        lost_ids, *_ = plain.inputs(batch, CPU)
        ids, _, state, _, weight = made.inputs(batch, CPU)
        made.learner.eval()
        whole, told = batch.inputs[0], batch.inputs[3]
        for row in range(len(ids)):
            text = ids[row, :-tokens]
            begins = [
                first
                for first in range(batch.constant + 1)
                if torch.equal(whole[row, first * tokens :][: len(text)], text)
            ]
            assert len(begins) == 1
            if torch.equal(ids[row], lost_ids[row]):
                continue
            assert begins[0] >= int(told[row]) + 2
            assert float(weight[row]) == 1.0
            with torch.no_grad():
                before = made.learner.read(whole[row : row + 1, : begins[0] * tokens])[1][0]
            torch.testing.assert_close(state[row], before, rtol=1e-4, atol=1e-5)
            earlier += 1
    assert earlier


def test_what_begins_earlier_is_pushed_as_well(objective, lost_late):
    of = {"drift_weight": 1.0, "replay_earlier": True}
    plain, pushed = (objective("memorize", push_share=share, **of) for share in (0.0, 0.5))
    pushed.learner.load_state_dict(plain.learner.state_dict())
    moved = lost = 0
    for seed, batch in enumerate(rolled(plain, 24)):
        found = []
        for made in (plain, pushed):
            torch.manual_seed(seed)
            found.append(made.inputs(batch, CPU))
        (ids, _, before, anchor, weight), (other_ids, _, after, same, _) = found
        assert torch.equal(ids, other_ids)
        assert torch.equal(anchor, same)
        end = batch.inputs[0][:, -ids.shape[1] :]
        for row in range(len(ids)):
            assert torch.equal(before[row], after[row]) != bool(weight[row])
            moved += bool(weight[row])
            lost += bool(weight[row]) and not torch.equal(ids[row], end[row])
    assert moved > lost > 0


def test_nothing_is_lost_before_its_fact(objective):
    """Elsewhere than in memorize, facts may come after the roll-in: these begin there."""
    made = objective("detect-memorize")
    batches = rolled(made)
    late = [batch.inputs[2] >= batch.constant for batch in batches]
    assert any(bool(one.any()) for one in late)
    for batch, after in zip(batches, late, strict=True):
        ids, *_ = made.inputs(batch, CPU)
        end = batch.inputs[0][:, -ids.shape[1] :]
        assert torch.equal(ids[after], end[after])


@pytest.mark.parametrize(("task", "replay"), [("memorize", True), ("reasoning", False)])
def test_a_state_should_stay_where_it_was_a_segment_after_the_last_fact(objective, task, replay):
    """Held against reading every sample by itself; what begins before that costs nothing."""
    made = objective(task, drift_weight=2.0, replay_lost=replay)
    learner, tokens = made.learner, made.learner.segment_tokens
    costly = free = 0
    for batch in rolled(made, 24):
        _, _, state, anchor, weight = made.inputs(batch, CPU)
        learner.eval()
        whole, told = batch.inputs[0], batch.inputs[3]
        for row in range(len(whole)):
            settled = int(told[row]) + 2
            with torch.no_grad():
                passed = [learner.initial(1)] + [
                    learner.read(whole[row : row + 1, : count * tokens])[1]
                    for count in range(1, batch.constant + 1)
                ]
            begun = [torch.allclose(one[0], state[row], atol=1e-5) for one in passed]
            later = begun.index(True) >= settled
            assert float(weight[row]) == (2.0 if later else 0.0)
            if later:
                torch.testing.assert_close(anchor[row], passed[settled][0], rtol=1e-4, atol=1e-5)
            costly += later
            free += not later
    assert costly
    assert free


def test_only_what_is_kept_is_pushed(objective):
    """Away from the state it has; its anchor stays, and a lost one begins where it was lost."""
    plain, pushed = (objective("memorize", drift_weight=1.0, push_share=one) for one in (0.0, 0.5))
    pushed.learner.load_state_dict(plain.learner.state_dict())
    moved = still = 0
    for batch in rolled(plain, 24):
        ids, _, before, anchor, weight = plain.inputs(batch, CPU)
        other_ids, _, after, same, other_weight = pushed.inputs(batch, CPU)
        assert torch.equal(anchor, same)
        assert torch.equal(weight, other_weight)
        assert torch.equal(ids, other_ids)
        end = batch.inputs[0][:, -ids.shape[1] :]
        for row in range(len(ids)):
            kept = torch.equal(ids[row], end[row]) and bool(weight[row])
            assert torch.equal(before[row], after[row]) != kept
            moved += kept
            still += not kept
    assert moved
    assert still


def test_without_a_weight_nothing_is_held_fast(objective):
    made = objective("memorize")
    assert made.inputs(rolled(made)[0], CPU)[3:] == (None, None)


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_weight_is_0_or_more(weight):
    with pytest.raises(BadInput, match=f"drift weight {weight!r}: expected 0 or more"):
        replace(quick("memorize"), drift_weight=weight)


def test_only_what_is_replayed_can_begin_earlier():
    with pytest.raises(BadInput, match="replay earlier without replay lost"):
        replace(quick("memorize"), replay_earlier=True)


def test_states_are_those_of_a_roll(objective):
    made = objective("memorize")
    learner = made.learner.eval()
    tokens = learner.segment_tokens
    ids = rolled(made)[0].inputs[0].numpy()[:, : 3 * tokens]
    bounds = [(0, tokens), (tokens, 2 * tokens), (2 * tokens, 3 * tokens)]
    roller, initial = Roller(learner, CPU), learner.initial(len(ids))
    found = roller.states(initial, ids, bounds)
    assert found.shape[0] == 4
    for count in range(1, 4):
        assert torch.equal(found[count], roller.roll(initial, ids, bounds[:count]))
    assert torch.equal(found[0], initial)


def test_a_roll_in_that_was_stopped_goes_on_to_the_same_losses(background, tmp_path):
    from rmtscale.training import loop

    settings = replace(
        quick("memorize"),
        background=background,
        vocabulary_words=120,
        replay_lost=True,
        replay_earlier=True,
        steps=40,
        log_every=4,
        validate_every=40,
        start_tokens=(),
        segments=1,
        stage_min_steps=4,
        stage_max_steps=4,
        validation_samples=8,
        drift_weight=1.0,
        push_share=0.3,
    )

    class Seen(loop.Silent):
        def __init__(self) -> None:
            self.losses: dict[int, float] = {}

        def interval(self, interval) -> None:
            self.losses[interval.step] = interval.loss

    whole, parts = Seen(), Seen()
    loop.train(settings, tmp_path / "whole", device="cpu", observer=whole)
    for _ in range(10):
        loop.train(settings, tmp_path / "parts", device="cpu", max_seconds=0, observer=parts)
    assert whole.losses == parts.losses
