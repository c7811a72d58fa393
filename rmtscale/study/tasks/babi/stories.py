"""Stories of bAbI tasks 1 to 5, drawn: five questions each (qa4: one), after even numbers of facts.

Which question can be asked when was found in the original files, where it holds without exception:
what is asked about took place within the last five facts (one of them is drawn, each as likely),
and the answer follows from what was told; if there is such a thing, it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from rmtscale.study.tasks import reasoning
from rmtscale.study.tasks.babi import grammar
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.names import STATEFUL
from rmtscale.study.tasks.babi.world import Act, Pick, World
from rmtscale.study.tasks.memorize import ACTIONS
from rmtscale.study.tasks.sample import Between, Closing

QUESTIONS = 5
RECENT = 5
"""A question is about one of so many last facts."""
_THERE_SHARE = 0.2
"""Share of facts that end with "there" where both forms occur."""
_KINDS = {
    "qa1": ("move",),
    "qa2": ("move", "get", "drop"),
    "qa3": ("move", "get", "drop"),
    "qa5": ("move", "get", "drop", "give"),
}
BETWEEN = 2
"""Questions after every fact, at most, which trainings may ask too; of anything that was told."""
BETWEEN_RELATIONS = 4
Found = tuple[str, str, int]
"""Question, answer and the index of the fact that completes it."""


class Drawer:
    """Draws stories of one task, one after the other.

    Args:
        qa: ``qa1`` to ``qa5``.
        seed: the only source of chance.
        state: every other question among the facts, by chance, is about the state that an answer
            is put together from; of tasks in ``STATEFUL``.
    """

    def __init__(self, qa: str, seed: int, state: bool = False) -> None:
        self.qa, self._asks_state = qa, state and qa in STATEFUL
        chance = Random(f"rmtscale bAbI {qa} {seed}").random
        self._pick: Pick = lambda count: int(chance() * count)
        # Numbers of their own: the stories are the same with and without questions in between.
        other = Random(f"rmtscale bAbI between {qa} {seed}").random
        self._other_pick: Pick = lambda count: int(other() * count)
        last = Random(f"rmtscale bAbI closing {qa} {seed}").random
        self._last_pick: Pick = lambda count: int(last() * count)
        self._chance: Callable[[], float] = chance
        self._rows = reasoning.all_rows()

    def story(self) -> list[Asked]:
        """Draws the questions of the next story."""
        if self.qa == "qa4":
            return [self._relations()]
        world = World(self._pick, grammar.persons(self.qa), _KINDS[self.qa])
        told, facts = Told(), []
        asked: list[tuple[int, Found, tuple[Closing, ...], tuple[Closing, ...]]] = []
        between: list[Between] = []
        while len(asked) < QUESTIONS:
            act = world.act()
            facts.append(self._write(act))
            told.add(act)
            known = told.known(self.qa, self._other_pick)
            if self._asks_state:
                between += self._of_both(len(facts), known, told)
            else:
                between += self._between(len(facts), known, BETWEEN)
            if len(facts) % 2 == 0:
                found = told.ask(self.qa, self._pick)
                if found is not None:
                    closing, rare = self._closing(told, found), told.rare(self.qa)
                    asked.append((len(facts), found, closing, _others(rare)))
        story = tuple(facts)
        return [
            Asked(story, count, *found, tuple(between), closing=closing, rare=rare)
            for count, found, closing, rare in asked
        ]

    def _closing(self, told: Told, found: Found) -> tuple[Closing, ...]:
        """Lists everything else that has an answer where something is asked, each question once."""
        known = told.known(self.qa, self._last_pick)
        known += told.state(self.qa) if self._asks_state else []
        return _others(known, found[0])

    def _between(self, told: int, known: list[tuple[str, str]], most: int) -> list[Between]:
        """Draws some of the questions that have an answer after so many facts, none twice."""
        drawn = []
        for _ in range(min(most, len(known))):
            drawn.append(Between(told, *known.pop(self._other_pick(len(known)))))
        return drawn

    def _of_both(self, count: int, known: list[tuple[str, str]], told: Told) -> list[Between]:
        """Draws as many questions, each of either kind; of a kind that has none left, none."""
        of_state = sum(self._other_pick(2) for _ in range(BETWEEN))
        drawn = self._between(count, known, BETWEEN - of_state)
        if not of_state:
            return drawn
        asked = {one.question for one in drawn}
        others = [one for one in told.state(self.qa) if one[0] not in asked]
        return drawn + self._between(count, others, of_state)

    def _write(self, act: Act) -> str:
        if act.kind == "move":
            return grammar.move(act.person, self._one(ACTIONS), act.target)
        if act.kind == "give":
            return grammar.give(act.person, self._one(grammar.GIVES), act.thing, act.target)
        always = act.kind == "get" and self.qa != "qa3"
        there = always or self._chance() < _THERE_SHARE
        verbs = grammar.GETS if act.kind == "get" else grammar.DROPS
        return grammar.handle(act.person, self._one(verbs), act.thing, there)

    def _one(self, words: tuple[str, ...]) -> str:
        return words[self._pick(len(words))]

    def _relations(self) -> Asked:
        """Two facts about three places in a row, in either order, each told in either direction."""
        axis, *places = self._rows[self._pick(len(self._rows))]
        told = []
        for first, second in (places[:2], places[1:]):
            turned = self._pick(2)
            way = reasoning.OPPOSITE[axis] if turned else axis
            told.append((second, way, first) if turned else (first, way, second))
        if self._pick(2):
            told.reverse()
        index = self._pick(2)
        answer, way, reference = told[index]
        form = reasoning.FORMS[self._pick(2)]
        facts = tuple(reasoning.fact(*one) for one in told)
        between = []
        for count in (1, 2):
            known = [one for fact in told[:count] for one in _relations_of(*fact)]
            between += self._between(count, known, BETWEEN_RELATIONS)
        question = reasoning.question(form, way, reference)
        closing = _others([one for fact in told for one in _relations_of(*fact)], question)
        return Asked(facts, 2, question, answer, index, tuple(between), closing=closing)


def _others(known: list[tuple[str, str]], question: str | None = None) -> tuple[Closing, ...]:
    """Lists each question that has an answer once, but for ``question``."""
    answers = {other: answer for other, answer in known if other != question}
    return tuple(Closing(*one) for one in answers.items())


def _relations_of(first: str, way: str, second: str) -> list[tuple[str, str]]:
    """Lists the questions that one fact answers, in both forms and both directions."""
    ends = ((way, second, first), (reasoning.OPPOSITE[way], first, second))
    return [
        (reasoning.question(form, direction, place), answer)
        for direction, place, answer in ends
        for form in reasoning.FORMS[:2]
    ]


class Told:
    """Knows what a listener knows after some facts."""

    def __init__(self) -> None:
        self._acts: list[Act] = []
        self._moved: dict[str, tuple[int, str]] = {}
        """Last move of each person: index of the fact, and the place."""
        self._left: dict[str, str] = {}
        """The place that each person was told to be in before that."""
        self._event: dict[str, tuple[int, bool, str]] = {}
        """When each object was last taken or dropped, whether it is held, and by whom."""
        self._path: dict[str, list[tuple[int, str]]] = {}
        """Moves of whoever held an object since it was last taken."""
        self._gift: dict[str, tuple[int, str, str]] = {}
        """The last gift of each object: index, giver and receiver."""
        self._dropped_in: dict[str, str | None] = {}

    def add(self, act: Act) -> None:
        """Takes the next fact in."""
        index = len(self._acts)
        self._acts.append(act)
        if act.kind == "move":
            if act.person in self._moved:
                self._left[act.person] = self._moved[act.person][1]
            self._moved[act.person] = (index, act.target)
            for thing, (_, held, holder) in self._event.items():
                if held and holder == act.person:
                    self._path[thing].append((index, act.target))
        elif act.kind == "get":
            self._event[act.thing] = (index, True, act.person)
            self._path[act.thing] = []
        elif act.kind == "drop":
            self._event[act.thing] = (index, False, act.person)
            self._dropped_in[act.thing] = self._moved.get(act.person, (0, None))[1]
        else:
            self._gift[act.thing] = (index, act.person, act.target)

    def known(self, qa: str, pick: Pick) -> list[tuple[str, str]]:
        """Lists questions of all that has an answer now, however long ago it was told."""
        if qa == "qa1":
            return [(grammar.where(name), place) for name, (_, place) in self._moved.items()]
        if qa == "qa5":
            return [self._ask_gift(thing, pick)[:2] for thing in self._gift]
        if qa == "qa2":
            return [self._ask_where(thing)[:2] for thing in self._event if self._located(thing)]
        return [self._ask_before(one, pick)[:2] for one in self._event if self._carried(one)]

    def rare(self, qa: str) -> list[tuple[str, str]]:
        """Lists the questions of a task that stories seldom come to, of tasks in ``STATEFUL``.

        Of qa2 where an object lies that was left behind: whoever dropped it is elsewhere. Of qa3
        where an object was before a place that is not the last one it was carried to.
        """
        if qa == "qa2":
            places = self.places()
            return [
                self._ask_where(thing)[:2]
                for thing, (_, held, dropper) in self._event.items()
                if not held and thing in places and places[thing] != places[dropper]
            ]
        if qa == "qa3":
            return [
                self._before(thing, place)[:2]
                for thing, path in self._path.items()
                for _, place in path[1:-1]
                if place != path[-1][1]
            ]
        return []

    def places(self) -> dict[str, str]:
        """Returns where everybody and every object is, as far as that was told.

        What somebody holds is where its holder is; what was dropped stays where that was.
        """
        found = {name: place for name, (_, place) in self._moved.items()}
        for thing, (_, held, holder) in self._event.items():
            place = found.get(holder) if held else self._dropped_in[thing]
            if place is not None:
                found[thing] = place
        return found

    def state(self, qa: str) -> list[tuple[str, str]]:
        """Lists questions of the state that an answer of a task is put together from.

        Who holds an object, where it is and where everybody is; of qa3 also where everybody was
        before, as an object was wherever its holder took it.
        """
        places = self.places()
        found = [(grammar.where(name), places[name]) for name in self._moved]
        for thing, (_, held, holder) in self._event.items():
            if held:
                found.append((grammar.who_got(thing), holder))
            if thing in places:
                found.append((grammar.where_thing(thing), places[thing]))
        if qa == "qa3":
            found += [
                (grammar.where_before(name, places[name]), place)
                for name, place in self._left.items()
            ]
        return found

    def ask(self, qa: str, pick: Pick) -> Found | None:
        """Asks something that has an answer now; None where nothing has."""
        recent = max(len(self._acts) - RECENT, 0)
        if qa == "qa1":
            persons = [act.person for act in self._acts[recent:]]
            name = persons[pick(len(persons))]
            index, place = self._moved[name]
            return grammar.where(name), place, index
        if qa == "qa5":
            things = [thing for thing, (index, *_) in self._gift.items() if index >= recent]
            return self._ask_gift(things[pick(len(things))], pick) if things else None
        known = self._located if qa == "qa2" else self._carried
        things = [
            act.thing for act in self._acts[recent:] if act.kind != "move" and known(act.thing)
        ]
        if not things:
            return None
        thing = things[pick(len(things))]
        return self._ask_where(thing) if qa == "qa2" else self._ask_before(thing, pick)

    def _located(self, thing: str) -> bool:
        """Returns whether an object was carried to a place, or dropped in a place that was told."""
        if self._event[thing][1]:
            return bool(self._path[thing])
        return self._dropped_in[thing] is not None

    def _carried(self, thing: str) -> bool:
        """Returns whether an object was carried from one place to another, both told."""
        return len(self._path[thing]) > 1

    def _ask_where(self, thing: str) -> Found:
        index, held, _ = self._event[thing]
        place: str | None = self._dropped_in.get(thing)
        if held:
            index, place = self._path[thing][-1]
        assert place is not None, "only what is located is asked for"
        return grammar.where_thing(thing), place, index

    def _ask_before(self, thing: str, pick: Pick) -> Found:
        path = self._path[thing]
        return self._before(thing, path[1 + pick(len(path) - 1)][1])

    def _before(self, thing: str, place: str) -> Found:
        path = self._path[thing]
        last = max(at for at in range(1, len(path)) if path[at][1] == place)
        index, held, _ = self._event[thing]
        completed = path[last][0] if held else index
        return grammar.where_thing_before(thing, place), path[last - 1][1], completed

    def _ask_gift(self, thing: str, pick: Pick) -> Found:
        index, giver, receiver = self._gift[thing]
        forms = grammar.give_questions(giver, thing, receiver)
        # What somebody gave is asked only where no other thing was given between the two since.
        later = self._acts[index + 1 :]
        unclear = any(
            (act.kind, act.person, act.target) == ("give", giver, receiver) for act in later
        )
        form = 2 + pick(4) if unclear else pick(len(forms))
        answer = (thing, thing, giver, giver, receiver, receiver)[form]
        return forms[form], answer, index
