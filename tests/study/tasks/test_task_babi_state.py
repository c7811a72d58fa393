"""Where everybody and every object is after some facts: held against a slow replay of the text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rmtscale.study.tasks.babi import grammar, pool
from rmtscale.study.tasks.babi.state import ENTRIES, MOVING, UNKNOWN, acts, places_after
from rmtscale.study.tasks.babi.stories import Drawer
from rmtscale.study.tasks.babilong import Babilong
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.task import PLACES
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.story_solver import World


def replayed(text: str) -> list[int]:
    """Reads all sentences that have ended, whatever else they are, and looks everybody up."""
    world = World()
    for sentence in re.findall(r"([^.?]*)[.?]", text.lower()):
        world.tell(sentence.strip())
    found = []
    for entry in ENTRIES:
        name = entry.lower()
        place = world.place.get(world.holder.get(name, name))
        found.append(PLACES.index(place) if place is not None else UNKNOWN)
    return found


@pytest.mark.parametrize("qa", MOVING)
def test_the_state_is_that_of_a_replay_after_every_fact(qa: str) -> None:
    drawer = Drawer(qa, 11)
    unknown = known = lying = 0
    persons = len(grammar.PERSONS)
    for _ in range(12):
        facts = drawer.story()[0].story
        counts = range(len(facts) + 1)
        found = places_after(facts, counts).tolist()
        assert found == [replayed(" ".join(facts[:count])) for count in counts]
        # The same in larger strides, and where nothing was read in between.
        some = [0, 0, len(facts) // 2, len(facts) // 2, len(facts)]
        assert places_after(facts, some).tolist() == [found[count] for count in some]
        unknown += sum(place == UNKNOWN for row in found for place in row)
        known += sum(place != UNKNOWN for row in found for place in row)
        lying += sum(
            UNKNOWN != place not in row[:persons] for row in found for place in row[persons:]
        )
    assert min(unknown, known) > 100
    assert (lying > 0) == (qa != "qa1"), "some objects lie where nobody is"


def test_an_object_is_left_behind() -> None:
    facts = (
        "Mary got the milk there.",
        "Mary went back to the kitchen.",
        "Mary left the milk.",
        "Mary moved to the garden.",
    )
    mary, milk = ENTRIES.index("Mary"), ENTRIES.index("milk")
    found = places_after(facts, range(5))
    kitchen, garden = PLACES.index("kitchen"), PLACES.index("garden")
    assert found[:, mary].tolist() == [UNKNOWN, UNKNOWN, kitchen, kitchen, garden]
    assert found[:, milk].tolist() == [UNKNOWN, UNKNOWN, kitchen, kitchen, kitchen]
    others = np.delete(found, [mary, milk], axis=1)
    assert (others == UNKNOWN).all()


def test_every_fact_of_these_tasks_is_known_and_no_other() -> None:
    assert acts().keys() == {fact for qa in MOVING for fact in grammar.facts_of(qa)}
    with pytest.raises(KeyError):
        places_after(["Fred handed the milk to Jeff."], [1])
    for stories in ("qa1", "qa2", "qa3", "qa3,qa1"):
        assert Babilong(stories=stories).told_shape == (7, 6)
    for stories in ("qa4", "qa5", "qa2,qa5"):
        assert Babilong(stories=stories).told_shape is None


def test_a_fact_counts_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the text that a sample has: segments cut facts, and questions stand among them."""
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    task, tokens = Babilong(stories="qa2", between=True), 140
    prose = "the old man saw the sea . it was a cold day and nobody had been there . so he slept ."
    vocabulary = Vocabulary.build([prose], 60, task.words())
    noise = Noise([" ".join([prose] * 40)], vocabulary, repeats=True)
    batches = Batches(task, vocabulary, noise, tokens, 16, 3, 30)
    straddling = changed = 0
    batch, asked, told = batches.batch_and_told(5)
    same, same_asked = batches.batch_and_questions(5)
    for one, other in zip((*batch, *asked), (*same, *same_asked), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert told.shape == (16, 5, len(ENTRIES))
    for ids, own in zip(batch.ids, told.tolist(), strict=True):
        for end, found in zip((20, 50, 80, 110, 140), own, strict=True):
            text = vocabulary.text(ids[:end])
            assert found == replayed(text)
            changed += found != own[-1]
            rest = re.split(r"[.?]", text)[-1].split()
            straddling += bool(rest) and rest[0] in {"mary", "john", "daniel", "sandra"}
    assert straddling > 5, "facts that a boundary cuts"
    assert changed > 5
    pool.load_pool.cache_clear()
