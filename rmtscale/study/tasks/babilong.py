"""BABILong: stories of bAbI tasks 1 to 5, sentence by sentence in unrelated prose.

As Kuratov et al. 2024 build it: the facts of a story stand in their order at sentence boundaries
that are drawn alike, several persons and objects among them and facts that do not matter, the
question stands at the end. A fact may be cut where a segment ends: the benchmark knows no segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.tasks.babi import grammar
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.names import QAS, STATEFUL, parse_stories
from rmtscale.study.tasks.babi.pool import SOURCES, Pool, load_pool
from rmtscale.study.tasks.babi.state import ENTRIES, MOVING, places_after
from rmtscale.study.tasks.sample import Closing, Story
from rmtscale.study.tasks.task import PLACES, Task, pick
from rmtscale.study.tasks.vocabulary import TextCoder, split_words
from rmtscale.units import require_one_of, require_positive

MOST_CLOSING = 64
"""More than any story has an answer to."""


@dataclass(frozen=True, kw_only=True)
class Babilong(Task):
    """Asks what follows from a story.

    Raises:
        BadInput: an unknown task, source or placement.
    """

    name: ClassVar[str] = "babilong"

    placement: str = "ordered"
    stories: str = "qa1"
    """Tasks to draw from, each as likely: ``qa1`` or ``qa1,qa2,qa3,qa4,qa5``."""
    source: str = "generated"
    """``generated``, or ``original``: the files below ``RMTSCALE_DATA``."""

    between: bool = False
    """Ask among the facts too: after each, of what was told until then; the originals after every
    second one. One answer teaches little, and an evaluation has no other."""
    closing: int = 0
    """Ask up to so many other things that have an answer, one after the other before the last
    question. After a burn-in there are few facts to ask among, and one answer says of one thing
    only whether the memory has kept it."""
    rare_share: float = 0.0
    """Share of the stories, as far as such fit, that have come to something rare: of qa2 an object
    that was left behind, of qa3 one that was carried on more than once (``Told.rare``). What is
    rare comes first among the questions of ``closing``."""
    ask_state: bool = False
    """Makes half of these questions, in stories of qa2 and qa3, about the state that an answer is
    put together from: where a person is, who got an object, where it is before it was carried on;
    of qa3 also where a person was before. The benchmark asks none of it. Persons are answers then.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.placement != "ordered":
            raise BadInput(
                f"placement {self.placement!r} of babilong: expected ordered, a story is told in "
                "its order"
            )
        require_one_of("source", self.source, SOURCES)
        for name, value in (("between", self.between), ("ask_state", self.ask_state)):
            if type(value) is not bool:
                raise BadInput(f"{name} {value!r}: expected true or false")
        if type(self.closing) is not int or not 0 <= self.closing <= MOST_CLOSING:
            raise BadInput(f"closing {self.closing!r}: expected 0 to {MOST_CLOSING} questions")
        if type(self.rare_share) not in (int, float) or not 0 <= self.rare_share <= 1:
            raise BadInput(f"rare_share {self.rare_share!r}: expected 0 to 1")
        names = parse_stories(self.stories)
        for name, wanted, off in (
            ("ask_state", self.ask_state, "false"),
            ("rare_share", self.rare_share, "0"),
        ):
            if wanted and (self.source != "generated" or not set(names) & set(STATEFUL)):
                raise BadInput(
                    f"{name} {wanted!r} of {self.source} stories of {self.stories}: "
                    f"expected {off}, or generated ones with one of {quoted_list(STATEFUL)}"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        return (*grammar.ANSWERS, *grammar.TAKERS) if self.ask_state else grammar.ANSWERS

    @property
    def facts_per_story(self) -> int:
        return max(pool.most_facts for pool in self.pools)

    @property
    def mean_facts(self) -> float:
        return sum(pool.mean_facts for pool in self.pools) / len(self.pools)

    @cached_property
    def most_between(self) -> int:
        return self.closing + (max(pool.most_between for pool in self.pools) if self.between else 0)

    @property
    def told_shape(self) -> tuple[int, int] | None:
        """The place of every person and every object; None with stories of qa4 or qa5."""
        moving = set(parse_stories(self.stories)) <= set(MOVING)
        return (len(ENTRIES), len(PLACES)) if moving else None

    def told_after(
        self, facts: Sequence[str], read_SF: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        return places_after(facts, read_SF.sum(1).tolist())

    def asking_between(self) -> Babilong:
        return replace(self, between=True)

    def asking_last(self, questions: int) -> Babilong:
        return replace(self, closing=questions)

    def preferring_rare(self, share: float) -> Babilong:
        return replace(self, rare_share=share)

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """Questions of each task, of the split."""
        names = parse_stories(self.stories)
        return tuple(load_pool(name, self.source, self.split, self.ask_state) for name in names)

    def all_facts(self) -> tuple[str, ...]:
        names = parse_stories(self.stories)
        return tuple(dict.fromkeys(fact for name in names for fact in grammar.facts_of(name)))

    def all_questions(self) -> tuple[str, ...]:
        names = parse_stories(self.stories)
        return tuple(question for name in names for question in grammar.questions_of(name))

    def words(self) -> list[str]:
        """Lists the words of all five tasks: models of any of them have one vocabulary."""
        texts = (
            *(fact for name in QAS for fact in grammar.facts_of(name)),
            *(question for name in QAS for question in grammar.questions_of(name)),
            *grammar.ANSWERS,
        )
        return sorted(set(split_words(" ".join(texts))))

    def fragments_of(self, fact: str) -> list[str]:
        return grammar.pieces(fact)

    def story(self, rng: np.random.Generator) -> Story:
        pool = self.pools[pick(rng, len(self.pools))]
        return self._asking(rng, pool.asked[pick(rng, len(pool.asked))])

    def story_within(self, rng: np.random.Generator, tokens: int, vocabulary: TextCoder) -> Story:
        pool = self.pools[pick(rng, len(self.pools))]
        left = tokens - self._closing_tokens(vocabulary)
        rare = bool(self.rare_share) and rng.random() < self.rare_share
        return self._asking(rng, pool.draw(rng, left, vocabulary, self.between, rare))

    def _asking(self, rng: np.random.Generator, asked: Asked) -> Story:
        rare = [one for one in asked.rare if self.rare_share and one.question != asked.question]
        others = [one for one in asked.closing if one not in rare]
        drawn: list[Closing] = []
        for _ in range(min(self.closing, len(rare) + len(others))):
            left = rare or others
            drawn.append(left.pop(pick(rng, len(left))))
        return asked.as_story(self.between, drawn)

    def _closing_tokens(self, vocabulary: TextCoder) -> int:
        """Counts the tokens of the questions before the last, were each the longest."""
        if not self.closing:
            return 0
        return self.closing * max(pool.longest_closing(vocabulary) for pool in self.pools)

    def least_tokens(self, vocabulary: TextCoder, segment_tokens: int | None = None) -> int:
        """Counts the tokens that stories of every task fit into, a fiftieth of each."""
        del segment_tokens
        least = max(pool.least_tokens(vocabulary, self.between) for pool in self.pools)
        return least + self._closing_tokens(vocabulary)

    def require_room(self, vocabulary: TextCoder, tokens: int, segment_tokens: int) -> None:
        """Raises ``BadInput`` unless stories of every task fit into ``tokens``."""
        require_positive("tokens", tokens)
        require_positive("segment tokens", segment_tokens)
        least = self.least_tokens(vocabulary)
        if tokens < least:
            raise BadInput(
                f"tokens {tokens}: expected {least} or more, which stories of {self.stories} take"
            )
