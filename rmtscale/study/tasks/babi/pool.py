"""Questions to draw from: of the original files or of our generators, each split by story.

Nothing is on two sides. What the original test files tell, whatever they ask after it, is never
trained or validated on: digests of these stories lie beside this file (``held_out.csv``, made by
``python -m tests.study.tasks.held_out``). Of everything else the first two facts decide, so that no
story is the beginning of one on the other side.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from rmtscale.study.tasks.babi.asked import Asked, facts_digest, prefix_digests
from rmtscale.study.tasks.babi.original import read_original
from rmtscale.study.tasks.babi.stories import Drawer
from rmtscale.study.tasks.sample import Story
from rmtscale.study.tasks.vocabulary import TextCoder

SOURCES = ("generated", "original")
_VALIDATION_SHARE = 10
"""One story of so many is for validation."""
STORIES = {"train": 6000, "validation": 400}
"""Generated stories of five questions each; the original files have 2,000 to train on."""
_LEAST_SHARE = 0.02
"""Share of the questions that the shortest inputs have room for."""
Lengths = npt.NDArray[np.int64]


class Pool:
    """Questions of one task.

    Args:
        asked: all of them.
    """

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = tuple(asked)
        self._sorted: dict[tuple[TextCoder, bool, bool], tuple[Lengths, Lengths]] = {}
        self._longest: dict[TextCoder, int] = {}

    @cached_property
    def most_facts(self) -> int:
        """Facts of the longest story."""
        return max(one.told for one in self.asked)

    @cached_property
    def mean_facts(self) -> float:
        """Facts of a story in the mean."""
        return sum(one.told for one in self.asked) / len(self.asked)

    @cached_property
    def most_between(self) -> int:
        """Questions among the facts of the story that has most of them."""
        return max(len(one.as_story(between=True).between) for one in self.asked)

    def lengths(self, vocabulary: TextCoder, between: bool = False) -> Lengths:
        """Counts the tokens of each question with its story, and with the questions in it."""
        if between:
            stories = (one.as_story(between=True) for one in self.asked)
            counts = (sum(map(len, map(vocabulary.array, told_of(one)))) for one in stories)
            return np.fromiter(counts, dtype=np.int64, count=len(self.asked))
        sums: dict[int, Lengths] = {}
        found = np.empty(len(self.asked), dtype=np.int64)
        for number, one in enumerate(self.asked):
            if id(one.story) not in sums:
                each = [len(vocabulary.array(fact)) for fact in one.story]
                sums[id(one.story)] = np.cumsum([0, *each])
            question = len(vocabulary.array(one.question))
            found[number] = sums[id(one.story)][one.told] + question
        return found

    def longest_closing(self, vocabulary: TextCoder) -> int:
        """Counts the tokens of the longest question that may come before the last, if any."""
        if vocabulary not in self._longest:
            texts = {one.question for own in self.asked for one in (*own.closing, *own.rare)}
            lengths = (len(vocabulary.array(text)) for text in texts)
            self._longest[vocabulary] = max(lengths, default=0)
        return self._longest[vocabulary]

    def least_tokens(self, vocabulary: TextCoder, between: bool = False) -> int:
        """Counts the tokens that a fiftieth of the stories fit into."""
        ordered, _ = self._by_length(vocabulary, between, rare=False)
        return int(ordered[int(_LEAST_SHARE * len(ordered))])

    def draw(
        self,
        rng: np.random.Generator,
        tokens: int,
        vocabulary: TextCoder,
        between: bool = False,
        rare: bool = False,
    ) -> Asked:
        """Draws one of the questions whose stories fit, each as likely.

        Args:
            rng: source of chance.
            tokens: room for the story, its question, and the questions in it.
            vocabulary: counts their tokens.
            between: whether there are questions in it.
            rare: only where something rare can be asked, as long as that fits.
        """
        ordered, places = self._by_length(vocabulary, between, rare)
        count = int(np.searchsorted(ordered, tokens, side="right"))
        if rare and not count:
            return self.draw(rng, tokens, vocabulary, between)
        return self.asked[int(places[int(rng.random() * count)])]

    def _by_length(
        self, vocabulary: TextCoder, between: bool, rare: bool
    ) -> tuple[Lengths, Lengths]:
        key = vocabulary, between, rare
        if key not in self._sorted:
            if rare:
                ordered, places = self._by_length(vocabulary, between, rare=False)
                kept = np.array([bool(self.asked[place].rare) for place in places], dtype=np.bool_)
                self._sorted[key] = ordered[kept], places[kept]
            else:
                lengths = self.lengths(vocabulary, between)
                places = np.argsort(lengths, kind="stable")
                self._sorted[key] = lengths[places], places
        return self._sorted[key]


def told_of(story: Story) -> tuple[str, ...]:
    """Lists all sentences of a story, the question last; which stand where is not said."""
    return (*story.facts, *(one.question for one in story.between), story.question)


@cache
def load_pool(qa: str, source: str, split: str, state: bool = False) -> Pool:
    """Loads or draws the questions of a task.

    Args:
        qa: ``qa1`` to ``qa5``.
        source: ``generated`` or ``original``.
        split: ``train``, ``validation``, or ``test``, which is always original.
        state: half of the questions among the facts are about the state, of stories that are drawn.

    Raises:
        BadInput: original files that are not there.
    """
    if split == "test":
        return Pool(read_original(qa, "test"))
    if source == "original":
        read = read_original(qa, "train")
        return Pool(_without_held_out([one for one in read if belongs(one, split)]))
    wanted = STORIES[split] * (5 if qa == "qa4" else 1)
    return Pool([one for story in drawn_stories(qa, state).first(wanted, split) for one in story])


class DrawnStories:
    """Stories of one task in their order, drawn once for both splits.

    Args:
        qa: the task.
        state: whether questions are about the state too.
    """

    def __init__(self, qa: str, state: bool) -> None:
        self._drawer = Drawer(qa, 0, state)
        self._stories: dict[str, list[list[Asked]]] = {"train": [], "validation": []}

    def first(self, count: int, split: str) -> list[list[Asked]]:
        """Returns the first stories of a split, the questions that are held out left out."""
        while len(self._stories[split]) < count:
            story = self._drawer.story()
            for part, found in self._stories.items():
                own = _without_held_out([one for one in story if belongs(one, part)])
                if own:
                    found.append(own)
        return self._stories[split][:count]


@cache
def drawn_stories(qa: str, state: bool) -> DrawnStories:
    """Returns the stories of a task, which both splits are taken from."""
    return DrawnStories(qa, state)


def belongs(asked: Asked, split: str) -> bool:
    """Tells whether a question is of a split, ``train`` or ``validation``."""
    validation = facts_digest(asked.story[:2]) % _VALIDATION_SHARE == 0
    return validation == (split == "validation") and facts_digest(asked.facts) not in held_out()


def _without_held_out(asked: list[Asked]) -> list[Asked]:
    """Leaves out the questions in between that come after what an original test file tells."""
    found: list[Asked] = []
    for one in asked:
        if found and found[-1].story is one.story:
            found.append(replace(one, between=found[-1].between))
            continue
        digests = prefix_digests(one.story)
        kept = (each for each in one.between if digests[each.told - 1] not in held_out())
        found.append(replace(one, between=tuple(kept)))
    return found


@cache
def held_out() -> frozenset[int]:
    """Reads the digests of what the original test files tell before their questions."""
    source = files("rmtscale.study.tasks.babi") / "held_out.csv"
    rows = csv.DictReader(io.StringIO(source.read_text(encoding="utf-8")))
    return frozenset(int(row["facts_sha256_32"], 16) for row in rows)
