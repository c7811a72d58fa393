"""The sentences of bAbI tasks 1 to 5 (Weston et al. 2015): facts, questions and answers.

``qa1`` where a person is, ``qa2`` where an object is, ``qa3`` where an object was before, ``qa4``
what lies where, ``qa5`` who gave what to whom. Every sentence of the original files is one of
these, and every one of these stands in them (``tests/study/tasks/test_task_babi.py``).
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

from rmtscale.study.tasks import reasoning
from rmtscale.study.tasks.babi.names import STATEFUL
from rmtscale.study.tasks.fact_fragments import fragments
from rmtscale.study.tasks.memorize import ACTIONS
from rmtscale.study.tasks.task import PLACES

PERSONS = ("Mary", "John", "Daniel", "Sandra")
GIVERS = ("Mary", "Fred", "Bill", "Jeff")
"""Persons of qa5."""
OBJECTS = ("milk", "football", "apple")
GETS = ("got", "grabbed", "took", "picked up")
DROPS = ("dropped", "discarded", "left", "put down")
GIVES = ("gave", "handed", "passed")
ANSWERS = (*PLACES, *OBJECTS, *GIVERS)
"""Every answer of the five tasks; a model of one task has the same classes as one of all five."""
TAKERS = tuple(name for name in PERSONS if name not in GIVERS)
"""Who can hold something in qa2 and qa3, and is no answer of the benchmark."""
_THERE = " there."


def labels(qa: str) -> tuple[str, ...]:
    """Lists the possible answers of a task."""
    return (*OBJECTS, *GIVERS) if qa == "qa5" else PLACES


def persons(qa: str) -> tuple[str, ...]:
    """Lists whom the stories of a task tell of."""
    return GIVERS if qa == "qa5" else PERSONS


@cache
def move(person: str, verb: str, place: str) -> str:
    """``Mary went back to the hallway.``"""
    return f"{person} {verb} to the {place}."


@cache
def handle(person: str, verb: str, thing: str, there: bool) -> str:
    """``Mary got the milk there.`` or ``Mary put down the milk.``"""
    return f"{person} {verb} the {thing}{_THERE if there else '.'}"


@cache
def give(person: str, verb: str, thing: str, receiver: str) -> str:
    """``Fred handed the football to Jeff.``"""
    return f"{person} {verb} the {thing} to {receiver}."


@cache
def facts_of(qa: str) -> tuple[str, ...]:
    """Lists every fact of a task."""
    if qa == "qa4":
        return tuple(
            reasoning.fact(a, way, b)
            for a, b in permutations(PLACES, 2)
            for way in reasoning.OPPOSITE
        )
    names = persons(qa)
    found = [move(name, verb, place) for name in names for verb in ACTIONS for place in PLACES]
    if qa == "qa1":
        return tuple(found)
    gets_there = (False, True) if qa == "qa3" else (True,)
    for name in names:
        for thing in OBJECTS:
            found += [handle(name, verb, thing, there) for verb in GETS for there in gets_there]
            found += [handle(name, verb, thing, there) for verb in DROPS for there in (False, True)]
    if qa == "qa5":
        found += [
            give(one, verb, thing, other)
            for one, other in permutations(names, 2)
            for verb in GIVES
            for thing in OBJECTS
        ]
    return tuple(found)


@cache
def questions_of(qa: str) -> tuple[str, ...]:
    """Lists every question of a task."""
    if qa == "qa1":
        return tuple(where(name) for name in PERSONS)
    if qa == "qa2":
        return tuple(where_thing(thing) for thing in OBJECTS)
    if qa == "qa3":
        return tuple(where_thing_before(thing, place) for thing in OBJECTS for place in PLACES)
    if qa == "qa4":
        return tuple(
            reasoning.question(form, way, place)
            for form in reasoning.FORMS[:2]
            for way in reasoning.OPPOSITE
            for place in PLACES
        )
    return tuple(
        question
        for thing in OBJECTS
        for one, other in permutations(GIVERS, 2)
        for question in dict.fromkeys(give_questions(one, thing, other))
    )


def give_questions(giver: str, thing: str, receiver: str) -> tuple[str, ...]:
    """Returns the forms of a question about a gift; each third, by what is asked, is as likely."""
    what = f"What did {giver} give to {receiver}?"
    return (
        what,
        what,
        f"Who gave the {thing} to {receiver}?",
        f"Who gave the {thing}?",
        f"Who did {giver} give the {thing} to?",
        f"Who received the {thing}?",
    )


def where(person: str) -> str:
    """``Where is Mary?``"""
    return f"Where is {person}?"


def where_thing(thing: str) -> str:
    """``Where is the milk?``"""
    return f"Where is the {thing}?"


def where_before(person: str, place: str) -> str:
    """``Where was Mary before the kitchen?``"""
    return f"Where was {person} before the {place}?"


def where_thing_before(thing: str, place: str) -> str:
    """``Where was the milk before the kitchen?``"""
    return where_before(f"the {thing}", place)


def who_got(thing: str) -> str:
    """``Who got the milk?``, in words that the five tasks have."""
    return f"Who got the {thing}?"


@cache
def state_questions_of(qa: str) -> tuple[str, ...]:
    """Lists every question about the state that an answer is put together from.

    The benchmark asks none of a task; none are listed of tasks that are not in ``STATEFUL``.
    """
    if qa not in STATEFUL:
        return ()
    found = [where(name) for name in PERSONS]
    found += [form(thing) for thing in OBJECTS for form in (where_thing, who_got)]
    if qa == "qa3":
        found += [where_before(name, place) for name in PERSONS for place in PLACES]
    return tuple(found)


def pieces(fact: str) -> list[str]:
    """Cuts a fact into pieces that look like it and tell nothing.

    ``Mary got the milk`` would tell all that ``Mary got the milk there.`` does, and ``Fred gave the
    milk to`` who gave it: such ends are not cut off.
    """
    words = fact.removesuffix(_THERE).removesuffix(".").split()
    subject_words = 2 if words[0] == "The" else 1
    cut = fragments(" ".join(words) + ".", subject_words)
    return cut[:-1] if set(words) & set(GIVES) else cut
