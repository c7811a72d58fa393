"""Which trainings of a seed count, where one went on after it had been read.

A training that begins with the weights of another one of the same task and seed goes on with it,
and is a later state of it, unless something that is learned from is on in one and off in the other.
Its schedule may be another. Claims on seeds are of first states: to put a later one in its place
would let a seed be trained until it passes. Where a training went on they are made of latest states
as well, under a name of their own and whether better or worse: to leave those out would hide what
more steps bring. Every state has its own claims.

Two trainings of one seed with beginnings of their own both count, and so do two that go on from one
state. Where a seed counts once, it counts by the worse of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.ways import usual
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.memory_tasks.learned import Noted, changes, learned
from rmtscale.units import format_tokens

_BEGINNING = ("contrast_first", "start_tokens")
"""Stages that a training which goes on has behind it."""
LATEST = ", latest states"
"""Ends the text of a claim on latest states."""


def _went_on(
    records: Iterable[EvaluationRecord],
) -> list[tuple[EvaluationRecord, EvaluationRecord]]:
    """Pairs each later state with the state that it went on from, where both were read."""
    every = list(records)
    own = {(one.point.task, one.trained_seed, one.point.weights): one for one in every}
    found = []
    for later in every:  # A record of the same weights may be older than the note.
        earlier = own.get((later.point.task, later.trained_seed, later.trained_from))
        if earlier is not None and _goes_on(earlier, later):
            found.append((earlier, later))
    return found


def _goes_on(earlier: EvaluationRecord, later: EvaluationRecord) -> bool:
    if earlier.trained_steps >= later.trained_steps:
        return False
    return not changes([_last(later)], [_last(earlier)], _BEGINNING)


def _last(record: EvaluationRecord) -> Noted:
    """Returns the settings of a training; where they were not noted, those of the usual recipe."""
    if record.trained_with:
        return record.trained_with[-1]
    return learned(usual(record.point.task, record.trained_backbone))


def as_begun(records: Iterable[EvaluationRecord]) -> list[EvaluationRecord]:
    """Gives later states the settings of the first, so that they count under its recipe."""
    every = list(records)
    begun = {later.point.weights: earlier for earlier, later in _went_on(every)}
    found = []
    for one in every:
        first = one
        while first.point.weights in begun:
            first = begun[first.point.weights]
        found.append(one if first is one else replace(one, trained_with=first.trained_with))
    return found


def later_states(records: Iterable[EvaluationRecord]) -> set[str]:
    """Returns the digests of weights that another training of the records went on to.

    Args:
        records: of all trainings, whatever else they were read with.
    """
    return {later.point.weights for _, later in _went_on(records)}


def earlier_states(records: Iterable[EvaluationRecord]) -> set[str]:
    """Returns the digests of weights that another training of the records went on from."""
    return {earlier.point.weights for earlier, _ in _went_on(records)}


def first_states(records: Iterable[EvaluationRecord]) -> list[EvaluationRecord]:
    """Leaves out the records of later states."""
    every = list(records)
    later = later_states(every)
    return [one for one in every if one.point.weights not in later]


def states_to_claim(records: Iterable[EvaluationRecord]) -> dict[str, list[EvaluationRecord]]:
    """Returns the records that a claim on seeds is made of, by what follows its name.

    First states follow with nothing. Latest ones are there where a training went on.
    """
    every = list(records)
    earlier = earlier_states(every)
    claimed = {"": first_states(every)}
    if earlier:
        claimed[LATEST] = [one for one in every if one.point.weights not in earlier]
    return claimed


def trained_on_words(records: Iterable[EvaluationRecord], why: str) -> str:
    """Writes which trainings went on and how they count; nothing where none did.

    Args:
        records: of all trainings.
        why: link to why these went on and no others.
    """
    every = list(records)
    pairs = sorted(
        {
            (one.point.task, one.trained_seed, one.trained_steps, later.trained_steps)
            for one, later in _went_on(every)
        }
    )
    if not pairs:
        return ""
    which = "; ".join(
        f"{TITLES.get(task, task)}, seed {seed}, from {format_tokens(first)} to "
        f"{format_tokens(last)} steps"
        for task, seed, first, last in pairs
    )
    return (
        f"Trained on after it had been read: {which} ([why, and how that counts]({why})). Where "
        "this is so, claims on seeds are of first states, and then of latest ones, better or worse."
    )
