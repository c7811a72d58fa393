"""Which trainings of a seed count, where one went on after it had been read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.study.figures.memory_tasks.backbones import by_kind, run_names
from rmtscale.study.figures.memory_tasks.recipes import full
from rmtscale.study.figures.memory_tasks.trainings import (
    as_begun,
    earlier_states,
    first_states,
    later_states,
    states_to_claim,
    trained_on_words,
)
from rmtscale.study.figures.memory_tasks.ways import by_recipe
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.memory_tasks.learned import learned
from tests.synthetic.evaluations import curve


def state(weights: str, steps: int, trained_from: str = "", **values: object) -> EvaluationRecord:
    """A record of a training of Reasoning with seed 2, but for what is given."""
    given = {"task": "reasoning", "trained_seed": 2, **values}
    (made,) = curve(
        [4096], 1.0, weights=weights, trained_steps=steps, trained_from=trained_from, **given
    )
    return made


FIRST = state("a", 12_000)
LATER = state("b", 15_950, "a")


def digests(records: list[EvaluationRecord]) -> list[str]:
    return [one.point.weights for one in records]


@pytest.mark.parametrize("order", [1, -1])
def test_a_training_that_went_on_is_claimed_by_first_and_by_latest_state(order: int) -> None:
    other = state("c", 12_000, trained_seed=1)
    given = [FIRST, LATER, other][::order]
    claimed = {key: set(digests(own)) for key, own in states_to_claim(given).items()}
    assert claimed == {"": {"a", "c"}, ", latest states": {"b", "c"}}
    assert set(digests(first_states(given))) == {"a", "c"}
    assert (later_states(given), earlier_states(given)) == ({"b"}, {"a"})


def test_accuracy_does_not_choose() -> None:
    """The worse of two states is the latest one too, and the better one the first."""
    for first, last in ((0.9, 0.5), (0.5, 0.9)):
        states = [
            *curve([64, 4096], first, weights="a", trained_steps=10),
            *curve([64, 4096], last, weights="b", trained_steps=20, trained_from="a"),
        ]
        claimed = states_to_claim(states)
        assert {one.accuracy for one in claimed[""]} == {first}
        assert {one.accuracy for one in claimed[", latest states"]} == {last}


def test_of_a_line_of_states_the_first_and_the_last_count() -> None:
    states = [FIRST, LATER, state("c", 20_000, "b")]
    assert {key: digests(own) for key, own in states_to_claim(states).items()} == {
        "": ["a"],
        ", latest states": ["c"],
    }
    names = run_names(states)
    assert names == {
        "a": "seed 2",
        "b": "seed 2, after 15,950 steps",
        "c": "seed 2, after 20,000 steps",
    }


def test_of_two_that_went_on_from_one_state_both_count() -> None:
    """So that the better of them cannot be chosen; their names differ, whatever their steps."""
    states = [FIRST, LATER, state("c", 15_950, "a", evaluated_at="2026-01-01T00:00:00+00:00")]
    assert digests(states_to_claim(states)[", latest states"]) == ["b", "c"]
    assert set(run_names(states).values()) == {
        "seed 2",
        "seed 2, after 15,950 steps",
        "seed 2, after 15,950 steps, training 2",
    }


@pytest.mark.parametrize(
    "another",
    [
        pytest.param(state("b", 15_950), id="no link was noted"),
        pytest.param(state("b", 15_950, "x"), id="what it went on from was not read"),
        pytest.param(state("b", 15_950, "a", trained_seed=1), id="another seed"),
        pytest.param(state("b", 15_950, "a", task="memorize"), id="another task"),
        pytest.param(state("b", 12_000, "a"), id="no more steps"),
        pytest.param(state("a", 15_950, "a"), id="itself"),
    ],
)
def test_what_is_no_later_state_counts_as_a_training(another: EvaluationRecord) -> None:
    states = [FIRST, another]
    assert states_to_claim(states) == {"": states}
    assert trained_on_words(states, "why.md") == ""


def test_a_link_that_some_records_of_the_weights_lack_holds_for_all() -> None:
    """The order of the records does not matter."""
    silent = curve([64], 1.0, task="reasoning", trained_seed=2, weights="b", trained_steps=15_950)
    for states in ([FIRST, LATER, *silent], [*silent, LATER, FIRST]):
        assert digests(first_states(states)) == ["a"]


USUAL = learned(replace(full("reasoning", 2), background="prose"))
SCHEDULE = learned(
    replace(
        full("reasoning", 2),
        background="prose",
        contrast_first=False,
        start_tokens=(),
        burn_in=(64, 256),
        learning_rate=1e-4,
    )
)


@pytest.mark.parametrize("noted", [None, (USUAL,)])
def test_a_later_state_has_the_recipe_of_the_first(
    noted: tuple[dict[str, object], ...] | None,
) -> None:
    """Its schedule is its own; the name says that it went on."""
    states = [
        replace(FIRST, trained_with=noted),
        replace(LATER, trained_with=(USUAL, SCHEDULE)),
        state("c", 20_000, "b", trained_with=(USUAL, SCHEDULE)),
    ]
    assert later_states(states) == {"b", "c"}
    assert [one.trained_with for one in as_begun(states)] == 3 * [noted]
    (kind,) = by_kind(states).values()
    assert set(by_recipe(kind, lambda one: one)) == {""}
    assert run_names(kind)["c"] == "seed 2, after 20,000 steps"


def test_what_is_learned_in_another_way_is_another_recipe_not_a_later_state() -> None:
    told = learned(replace(full("reasoning", 2), background="prose", told_weight=0.3))
    for first, last in ((USUAL, told), (told, USUAL)):
        states = [
            replace(FIRST, trained_with=(first,)),
            replace(LATER, trained_with=(first, last)),
        ]
        assert states_to_claim(states) == {"": states}
        assert as_begun(states) == states
        assert len(by_recipe(states, lambda one: one)) == 2
    both = [replace(FIRST, trained_with=(told,)), replace(LATER, trained_with=(told, told))]
    assert later_states(both) == {"b"}, "but for one that goes on in that way"


def test_the_page_names_who_went_on() -> None:
    other = [state("m", 100, task="memorize"), state("n", 200, "m", task="memorize")]
    assert trained_on_words([LATER, *other, FIRST], "why.md") == (
        "Trained on after it had been read: Memorize, seed 2, from 100 to 200 steps; Reasoning, "
        "seed 2, from 12,000 to 15,950 steps ([why, and how that counts](why.md)). Where this is "
        "so, claims on seeds are of first states, and then of latest ones, better or worse."
    )
