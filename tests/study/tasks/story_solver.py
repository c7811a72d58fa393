"""Answers the questions of bAbI tasks 1 to 5 the slow way: replays all that was told.

Shares no code with the generators, and takes any text: sentences that are no facts say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.study.tasks.slow_solver import ROOMS, solve_relations

THINGS = "milk|football|apple"
MOVE = re.compile(rf"\b(\w+) (?:moved|went|went back|journeyed|travelled) to the ({ROOMS})$")
GET = re.compile(rf"\b(\w+) (?:got|grabbed|took|picked up) the ({THINGS})(?: there)?$")
DROP = re.compile(rf"\b(\w+) (?:dropped|discarded|left|put down) the ({THINGS})(?: there)?$")
GIVE = re.compile(rf"\b(\w+) (?:gave|handed|passed) the ({THINGS}) to (\w+)$")


@dataclass
class World:
    """Where everything is after what was told; ``None`` is not known."""

    place: dict[str, str | None] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    been: dict[str, list[str | None]] = field(default_factory=dict)
    """Places of each object in their order, since it was last taken."""
    gifts: list[tuple[str, str, str]] = field(default_factory=list)
    walked: dict[str, list[str]] = field(default_factory=dict)
    """Places of each person in their order."""

    def tell(self, fact: str) -> None:
        if found := MOVE.search(fact):
            person, room = found.groups()
            self.place[person] = room
            self.walked.setdefault(person, []).append(room)
            for thing, holder in self.holder.items():
                if holder == person:
                    self.been[thing].append(room)
        elif found := GET.search(fact):
            person, thing = found.groups()
            self.holder[thing] = person
            self.been[thing] = [None]
        elif found := DROP.search(fact):
            person, thing = found.groups()
            del self.holder[thing]
            self.place[thing] = self.place.get(person)
        elif found := GIVE.search(fact):
            giver, thing, receiver = found.groups()
            self.gifts.append((giver, thing, receiver))
            self.holder[thing] = receiver


def solve(text: str) -> str | None:
    """Returns the answer to the question that ends a text; ``None`` where nothing follows."""
    told, _, asked = text.lower().rstrip(" ?").rpartition(".")
    asked = asked.strip()
    world = World()
    for sentence in told.split("."):
        world.tell(sentence.strip())
    words = asked.split()
    if words[:2] == ["where", "was"]:
        been, room = world.been.get(words[3]) or world.walked.get(words[2], []), words[-1]
        at = [index for index in range(1, len(been)) if been[index] == room]
        return been[at[-1] - 1] if at else None
    if words[:3] == ["where", "is", "the"]:
        thing = words[-1]
        return world.place.get(world.holder.get(thing, thing))
    if words[:2] == ["who", "got"]:
        return world.holder.get(words[-1])
    if words[0] == "where":
        return world.place.get(words[-1])
    if asked.startswith("what is"):
        (answer,) = solve_relations(text)
        return answer
    return _gift(asked, world)


def _gift(asked: str, world: World) -> str | None:
    """Who, what or to whom: of the last gift that the question fits."""
    forms = (
        (r"what did (\w+) give to (\w+)", (0, 2), 1),
        (rf"who gave the ({THINGS}) to (\w+)", (1, 2), 0),
        (rf"who gave the ({THINGS})", (1,), 0),
        (rf"who did (\w+) give the ({THINGS}) to", (0, 1), 2),
        (rf"who received the ({THINGS})", (1,), 2),
    )
    for form, places, answer in forms:
        if found := re.fullmatch(form, asked):
            for gift in reversed(world.gifts):
                if tuple(gift[place] for place in places) == found.groups():
                    return gift[answer]
    return None


def last_gifts(text: str) -> set[str]:
    """Returns what the question "What did Bill give to Jeff?" may mean: each thing whose last gift
    was that."""
    told, _, asked = text.lower().rstrip(" ?").rpartition(".")
    giver, receiver = re.findall(r"what did (\w+) give to (\w+)", asked)[0]
    world = World()
    for sentence in told.split("."):
        world.tell(sentence.strip())
    last = {thing: (one, other) for one, thing, other in world.gifts}
    return {thing for thing, pair in last.items() if pair == (giver, receiver)}


def rare_by_hand(qa: str, facts: tuple[str, ...]) -> set[str]:
    """Lists what is seldom asked at the end of some facts, following one object after the other.

    Of qa2 where an object lies if whoever dropped it is elsewhere, of qa3 where it was before a
    place that is not its last.
    """
    at: dict[str, str] = {}
    found: set[str] = set()
    for thing in THINGS.split("|"):
        at.clear()
        holder = dropper = place = ""
        carried: list[str] = []
        for fact in facts:
            words = fact.removesuffix(".").split()
            if thing in words:
                if words[1] in ("dropped", "discarded", "left", "put"):
                    holder, dropper, place = "", words[0], at.get(words[0], "")
                else:
                    holder, dropper, carried = words[0], "", []
            elif words[-2] == "the" and words[-1] not in THINGS.split("|"):
                at[words[0]] = words[-1]
                if words[0] == holder:
                    carried.append(words[-1])
        if qa == "qa2" and dropper and place and at[dropper] != place:
            found.add(f"Where is the {thing}?")
        if qa == "qa3" and carried:
            asked = {one for one in carried[1:-1] if one != carried[-1]}
            found |= {f"Where was the {thing} before the {one}?" for one in asked}
    return found
