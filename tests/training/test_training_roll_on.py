"""Samples of a roll-in go on in a later one: with other text, the same question, ever older."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tiny_training import write_background

from rmtscale.errors import BadInput
from rmtscale.experiments.memory_tasks import quick
from rmtscale.training.memory_objective import MemoryObjective
from rmtscale.training.prefetch import Batch
from rmtscale.training.roll_on import Ongoing, Rolled

CPU = torch.device("cpu")
ROWS, TOKENS, QUESTION = 40, 12, 3


def samples(number: int) -> Rolled:
    """Whose ids, answers and states all say which samples they are."""
    return Rolled(
        np.full((ROWS, TOKENS), number, dtype=np.int32),
        np.full(ROWS, number),
        np.zeros(ROWS, dtype=np.int64),
        np.ones(ROWS, dtype=np.int64),
        torch.full((ROWS, 2, 4), float(number)),
        torch.full((ROWS, 2, 4), float(number) / 8),
    )


def both(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """State and anchor of these samples."""
    return samples(number).state_BME, samples(number).anchor_BME


def other() -> np.ndarray:
    return np.full((ROWS, TOKENS), 7, dtype=np.int32)


def ongoing(share: float = 1.0) -> Ongoing:
    return Ongoing(share, seed=3, question_tokens=QUESTION)


def test_at_first_there_is_nothing_to_go_on_with():
    new = samples(1)
    assert ongoing().take(0, new, other()) is new


def test_a_sample_goes_on_with_its_question_and_answer_after_other_text():
    made, first = ongoing(), samples(1)
    reached = torch.full((ROWS, 2, 4), 5.0)
    made.keep(0, first, reached, reached / 2, np.full(ROWS, True))
    found = made.take(16, samples(2), other())
    assert (found.ids_BN[:, :-QUESTION] == 7).all()
    assert (found.ids_BN[:, -QUESTION:] == 1).all()
    assert (found.answers_B == 1).all()
    assert (found.read_B == -1).all()
    assert (found.told_B == -1).all()
    assert torch.equal(found.state_BME, reached)
    assert torch.equal(found.anchor_BME, reached / 2)
    # The steps between have samples of their own.
    assert (made.take(17, samples(2), other()).answers_B == 2).all()


def test_some_begin_anew_each_time():
    made = ongoing(0.5)
    made.keep(0, samples(1), *both(1), np.full(ROWS, True))
    chosen = []
    for step in (16, 32):
        found = made.take(step, samples(2), other())
        old = found.answers_B == 1
        assert 0.2 * ROWS < old.sum() < 0.8 * ROWS
        assert (found.ids_BN[~old] == 2).all()
        assert (found.read_B[~old] == 0).all()
        assert (found.told_B[~old] == 1).all()
        assert (found.anchor_BME[torch.from_numpy(~old)] == 2 / 8).all()
        assert (found.state_BME[torch.from_numpy(~old)] == 2).all()
        assert (found.state_BME[torch.from_numpy(old)] == 1).all()
        chosen.append(old.tolist())
    assert chosen[0] != chosen[1]
    assert (made.take(32, samples(2), other()).answers_B == 1).tolist() == chosen[1]


def test_what_is_not_kept_makes_room_for_a_new_one():
    made, first = ongoing(), samples(1)
    kept = np.arange(ROWS) % 3 > 0
    made.keep(0, first, *both(1), kept)
    found = made.take(16, samples(2), other())
    assert ((found.answers_B == 1) == kept).all()
    assert ((found.ids_BN[:, 0] == 7) == kept).all()


def test_a_batch_of_another_size_begins_anew():
    made = ongoing()
    made.keep(0, samples(1), *both(1), np.full(ROWS, True))
    new = samples(2)
    half = Rolled(*(getattr(new, each.name)[:5] for each in fields(Rolled)))
    assert made.take(16, half, other()[:5]) is half


def test_it_comes_back_from_its_tensors():
    made, again = ongoing(0.5), ongoing(0.5)
    for step in (0, 5):
        made.keep(step, samples(step + 1), *both(step + 1), np.arange(ROWS) > 3)
    again.load({name: x.clone() for name, x in made.tensors().items()}, CPU)
    for step in (16, 21):
        one, two = (each.take(step, samples(9), other()) for each in (made, again))
        assert (one.ids_BN == two.ids_BN).all()
        assert (one.answers_B == two.answers_B).all()
        assert torch.equal(one.state_BME, two.state_BME)
        assert torch.equal(one.anchor_BME, two.anchor_BME)
    assert ongoing().tensors() == {}


@pytest.fixture(scope="module")
def background(tmp_path_factory) -> str:
    return str(write_background(tmp_path_factory.mktemp("text")))


def objective(background: str, task: str, **more) -> MemoryObjective:
    settings = replace(
        quick(task),
        background=background,
        vocabulary_words=120,
        roll_in=(6,),
        roll_on_share=1.0,
        **{"batch_size": 6, **more},
    )
    return MemoryObjective(settings)


def rolled(made: MemoryObjective) -> tuple[Batch, Batch]:
    """Two batches of a roll-in, of which the second goes on with the first."""
    newest = len(made.stages) - 1
    for step in range(500):
        both = [made.batch(one, newest, 0, 1) for one in (step, step + 16)]
        if all(batch.constant for batch in both):
            return both[0], both[1]
    raise AssertionError("half of the batches are rolled in")


@pytest.mark.parametrize("task", ["memorize", "reasoning"])
def test_the_state_is_that_of_all_text_since_the_facts(background, task):
    """Held against reading each sample by itself, both texts one after the other."""
    made = objective(background, task)
    learner, tokens = made.learner, made.learner.segment_tokens
    first, second = rolled(made)
    ids_1, answers_1, *_ = made.inputs(first, CPU)
    assert torch.equal(ids_1, first.inputs[0][:, first.constant * tokens :])
    text = second.inputs[4].clone()
    new_ids, new_answers, read_1 = second.inputs[0], second.inputs[1], first.inputs[2]
    ids_2, answers_2, state, *_ = made.inputs(second, CPU)
    learner.eval()
    went_on = 0
    for row in range(len(answers_2)):
        on = bool(read_1[row] < first.constant)
        begun = first.inputs[0][row : row + 1, : first.constant * tokens]
        passed = (text if on else new_ids)[row : row + 1, : second.constant * tokens]
        with torch.no_grad():
            before = learner.read(begun)[1] if on else learner.initial(1)
            after = learner.read(passed, before)[1][0]
        torch.testing.assert_close(state[row], after, rtol=1e-4, atol=1e-5)
        assert answers_2[row] == (answers_1 if on else new_answers)[row]
        question = (ids_1 if on else new_ids)[row, -made.data.question_tokens :]
        assert torch.equal(ids_2[row, -made.data.question_tokens :], question)
        went_on += on
    assert went_on


def test_a_lost_one_does_not_go_on(background):
    """Nor one whose fact comes after the roll-in."""
    made = objective(background, "detect-memorize", replay_lost=True, batch_size=40)
    first, second = rolled(made)
    tokens, question = made.learner.segment_tokens, made.data.question_tokens
    _, answers, *_ = made.inputs(first, CPU)
    read, text = first.inputs[2], first.inputs[0]
    made.learner.eval()
    kept = []
    for row in range(len(answers)):
        right = []
        for segment in range(int(read[row]), first.constant):
            with torch.no_grad():
                _, state = made.learner.read(text[row : row + 1, : (segment + 1) * tokens])
                logits, _ = made.learner.read(text[row : row + 1, -question:], state)
            right.append(int(logits.argmax()) == int(answers[row]))
        kept.append(bool(right) and all(right))
    assert any(kept), "an untrained model guesses some"
    assert not all(kept)
    new = second.inputs[0][:, :tokens].clone()
    between = second.inputs[4][:, :tokens].clone()
    seen = {}
    roll = made._roller.states

    def states(before, ids, *others):
        seen["ids"] = ids.copy()
        return roll(before, ids, *others)

    made._roller.states = states
    made.inputs(second, CPU)
    for row, went_on in enumerate(kept):
        begun = torch.from_numpy(seen["ids"][row, :tokens])
        assert torch.equal(begun, (between if went_on else new)[row])


def test_the_text_between_has_no_facts(background):
    made = objective(background, "reasoning", decoys=0.01)
    tokens, segment_tokens = 400, made.learner.segment_tokens
    batches = made.data.batches(tokens, segment_tokens)
    facts = [made.data.vocabulary.array(text).tolist() for text in made.data.task.all_facts()]
    found = batches.without_facts(4)
    assert found.shape == batches.batch(4).ids.shape
    assert (found == batches.without_facts(4)).all()
    assert (found != batches.without_facts(5)).any()
    for row in found.tolist():
        for fact in facts:
            assert not any(row[at : at + len(fact)] == fact for at in range(tokens))
    plain = objective(background, "reasoning").data.batches(tokens, segment_tokens)
    assert (found != plain.without_facts(4)).any(), "pieces of facts are in it"


def test_it_is_for_one_process(background):
    made = objective(background, "memorize")
    first, _ = rolled(made)
    with pytest.raises(BadInput, match="with 2 processes: expected one"):
        made.batch(first.step, len(made.stages) - 1, 0, 2)


def test_more_than_all_of_them():
    with pytest.raises(BadInput, match=r"roll on share 1\.5: expected 0 to 1"):
        replace(quick("memorize"), roll_on_share=1.5)
