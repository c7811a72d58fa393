"""Where everybody and every object is as a story of qa1, qa2 or qa3 goes on.

Shape legend: R readings of a story, Q persons and objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from rmtscale.study.tasks.babi import grammar
from rmtscale.study.tasks.babi.stories import Told
from rmtscale.study.tasks.babi.world import Act
from rmtscale.study.tasks.memorize import ACTIONS
from rmtscale.study.tasks.task import PLACES

MOVING = ("qa1", "qa2", "qa3")
"""Tasks whose facts say nothing but where somebody goes, and who takes or drops what."""
ENTRIES = (*grammar.PERSONS, *grammar.OBJECTS)
"""Whose places are the state."""
UNKNOWN = -1
_INDEX = {place: index for index, place in enumerate(PLACES)}


@cache
def acts() -> dict[str, Act]:
    """Returns what every fact of ``MOVING`` tells."""
    found = {}
    for name in grammar.PERSONS:
        for place in PLACES:
            for verb in ACTIONS:
                found[grammar.move(name, verb, place)] = Act("move", name, target=place)
        for kind, verbs in (("get", grammar.GETS), ("drop", grammar.DROPS)):
            for thing in grammar.OBJECTS:
                for verb in verbs:
                    for there in (False, True):
                        found[grammar.handle(name, verb, thing, there)] = Act(kind, name, thing)
    return found


def places_after(facts: Sequence[str], counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Finds the places after some of a story's facts, and after more of them.

    Args:
        facts: of the story, in their order.
        counts: R numbers of facts that have been read, ascending.

    Returns:
        (R, Q), of each of ``ENTRIES`` an index into ``PLACES``, or ``UNKNOWN``.
    """
    told, read, places = Told(), 0, [UNKNOWN] * len(ENTRIES)
    rows = []
    for count in counts:
        if count > read:
            for fact in facts[read:count]:
                told.add(acts()[fact])
            read, known = count, told.places()
            places = [_INDEX[known[name]] if name in known else UNKNOWN for name in ENTRIES]
        rows.append(places)
    return np.array(rows, dtype=np.int64)
