"""Answers questions the slow way, from text alone: shares no code with the tasks.

Reads any text, noise included, and takes out the sentences of the two bAbI grammars wherever
they stand. Case and the space before a full stop do not matter, so that it reads decoded ids.
"""

from __future__ import annotations

import re

PERSONS = "mary|john|daniel|sandra"
ROOMS = "bathroom|hallway|garden|office|bedroom|kitchen"
WAYS = "north|south|east|west"
TURNED = {"north": "south", "south": "north", "east": "west", "west": "east"}
MOVE = re.compile(
    rf"\b(\w+) (?:moved|went|went back|journeyed|travelled) to the ({ROOMS}) ?\.", re.IGNORECASE
)
WHERE = re.compile(r"\bwhere is (\w+) ?\?", re.IGNORECASE)
RELATION = re.compile(rf"\bthe ({ROOMS}) is ({WAYS}) of the ({ROOMS}) ?\.", re.IGNORECASE)
WHAT = re.compile(rf"\bwhat is ({WAYS}) of the ({ROOMS}) ?\?", re.IGNORECASE)
TURNED_WHAT = re.compile(rf"\bwhat is the ({ROOMS}) ({WAYS}) of ?\?", re.IGNORECASE)


def solve_moves(text: str) -> list[str]:
    """Where the person is that the text asks for at its end: the last place said of them."""
    asked = last(WHERE, text)
    place = None
    for match in MOVE.finditer(text):
        if match[1].lower() == asked[0]:
            place = match[2].lower()
    return [place] if place else []


def solve_relations(text: str) -> list[str]:
    """Every place that answers the question at the end of the text."""
    true = set()
    for match in RELATION.finditer(text):
        one, way, two = (part.lower() for part in match.groups())
        true |= {(one, way, two), (two, TURNED[way], one)}
    if text.rstrip().endswith("of ?") or text.rstrip().endswith("of?"):
        place, way = last(TURNED_WHAT, text)
        return sorted(room for room in ROOMS.split("|") if (place, way, room) in true)
    way, place = last(WHAT, text)
    return sorted(room for room in ROOMS.split("|") if (room, way, place) in true)


def last(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    """The groups of the match that ends the text."""
    match = list(pattern.finditer(text))[-1]
    assert match.end() == len(text.rstrip()), text[-80:]
    return tuple(part.lower() for part in match.groups())
