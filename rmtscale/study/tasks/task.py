"""Task: places to choose from, and a story written into noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.fact_fragments import FactFragments, fragments
from rmtscale.study.tasks.noise import Filler
from rmtscale.study.tasks.placement import LateFacts, Placement, Room
from rmtscale.study.tasks.sample import Sample, Story
from rmtscale.study.tasks.splice import Splice, copied_from
from rmtscale.study.tasks.vocabulary import Ids, TextCoder, split_words
from rmtscale.units import require_one_of, require_positive

PLACES = ("bathroom", "hallway", "garden", "office", "bedroom", "kitchen")
SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A way to draw stories, and where their facts go."""

    name: ClassVar[str]
    subject_words: ClassVar[int] = 1
    """So many first words of a fact say what it is about."""

    placement: str = "free"
    """Placement of the facts: see ``rmtscale/study/tasks/placement.py``."""
    split: str = "train"
    """``train`` or ``validation``."""

    def __post_init__(self) -> None:
        require_one_of("split", self.split, SPLITS)
        Placement.parse(self.placement)

    @abstractmethod
    def story(self, rng: np.random.Generator) -> Story:
        """Draws facts, a question and its answer."""

    @property
    @abstractmethod
    def facts_per_story(self) -> int:
        """How many facts every story has."""

    @property
    def mean_facts(self) -> float:
        """How many facts a story has in the mean."""
        return float(self.facts_per_story)

    @property
    def classes(self) -> tuple[str, ...]:
        """The possible answers; an answer is an index into them."""
        return PLACES

    @abstractmethod
    def all_facts(self) -> tuple[str, ...]:
        """Lists every fact a story may have."""

    @abstractmethod
    def all_questions(self) -> tuple[str, ...]:
        """Lists every question a story may have."""

    def story_within(self, rng: np.random.Generator, tokens: int, vocabulary: TextCoder) -> Story:
        """Draws a story that fits into so many tokens; where all do, any story."""
        del tokens, vocabulary
        return self.story(rng)

    def fragments_of(self, fact: str) -> list[str]:
        """Cuts a fact into fragments that tell nothing."""
        return fragments(fact, self.subject_words)

    def fact_fragments(self, vocabulary: TextCoder, share: float) -> FactFragments:
        """Cuts the facts of the task into fragments, ``share`` of them per token of noise."""
        texts = {text for fact in self.all_facts() for text in self.fragments_of(fact)}
        return FactFragments(texts, vocabulary, share)

    @property
    def most_between(self) -> int:
        """Most questions of a story but the last, among its facts or after; by default none."""
        return 0

    @property
    def told_shape(self) -> tuple[int, int] | None:
        """How many softmaxes tell what was read, and over how many classes each: one over all facts
        where they stay true. None where facts are placed in an order, and a later one may end what
        an earlier one says."""
        return None if self.placement == "ordered" else (1, len(self.all_facts()))

    def told_after(
        self, facts: Sequence[str], read_SF: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Finds what is so after some facts of a story, of a task with a ``told_shape``.

        Args:
            facts: of the story, F of them.
            read_SF: which of them have been read, S times.

        Returns:
            (S, T) indices of classes, -1 is nothing: of one softmax T of them, here the facts, and
            of several one of each.
        """
        return np.where(read_SF, [self._fact_indices[fact] for fact in facts], -1)

    @cached_property
    def _fact_indices(self) -> dict[str, int]:
        return {fact: index for index, fact in enumerate(self.all_facts())}

    def asking_last(self, questions: int) -> Task | None:
        """Returns the task with up to so many questions more before the last, for a training.

        Returns:
            The task; None where stories have one question only.
        """
        del questions
        return None

    def preferring_rare(self, share: float) -> Task | None:
        """Returns the task with a share of stories in which something rare can be asked.

        Returns:
            The task; None where nothing is.

        Raises:
            BadInput: nothing is rare in the stories that it draws.
        """
        del share
        return None

    def asking_between(self) -> Task | None:
        """Returns the task with questions among its facts, for a training.

        Returns:
            The task; None where stories have one question only.
        """
        return None

    def contrasts(self) -> Task | None:
        """Restricts the stories to those that are hardest to tell apart, for a first stage.

        Returns:
            The restricted task; None where a task has no such stories.
        """
        return None

    def words(self) -> list[str]:
        """Lists every word and mark of facts, questions and answers, for a vocabulary."""
        text = " ".join((*self.all_facts(), *self.all_questions(), *self.classes))
        return sorted(set(split_words(text)))

    def to_mapping(self) -> dict[str, Any]:
        """Name and options; ``make_task(**mapping)`` makes the same task."""
        return {"name": self.name, **asdict(self)}

    def least_tokens(self, vocabulary: TextCoder, segment_tokens: int | None = None) -> int:
        """Counts the tokens of the longest story without any noise.

        With ``segment_tokens``, counted so that every fact lies whole in one segment.
        """
        fact, question = _longest(self._texts, vocabulary)
        lengths = [fact] * self.facts_per_story
        if segment_tokens is None:
            return sum(lengths) + question
        return -Room(0, segment_tokens, question).packed(lengths)[0]

    def require_room(self, vocabulary: TextCoder, tokens: int, segment_tokens: int) -> None:
        """Raises ``BadInput`` unless every story fits into ``tokens`` cut at ``segment_tokens``."""
        require_positive("tokens", tokens)
        require_positive("segment tokens", segment_tokens)
        fact, question = _longest(self._texts, vocabulary)
        if segment_tokens < fact + question:
            raise BadInput(
                f"segment tokens {segment_tokens}: expected {fact + question} or more, a fact and "
                f"the question of {self.name}"
            )
        least = self.least_tokens(vocabulary, segment_tokens)
        if tokens < least:
            raise BadInput(
                f"tokens {tokens}: expected {least} or more, the facts and the question of "
                f"{self.name} in segments of {segment_tokens}"
            )

    def sample(
        self, rng: np.random.Generator, tokens: int, noise: Filler, *, segment_tokens: int
    ) -> Sample:
        """One story in exactly ``tokens`` tokens.

        Args:
            rng: the only source of chance.
            tokens: length of the input.
            noise: what fills it, and whose vocabulary writes the story.
            segment_tokens: text tokens of a full segment; the first one is the shorter one.

        Raises:
            BadInput: too few tokens, too small a segment, or more noise than there is.
        """
        self.require_room(noise.vocabulary, tokens, segment_tokens)
        ids = np.empty(tokens, dtype=np.int32)
        story, positions, _ = self.write(rng, ids, noise, segment_tokens)
        answer = self.classes.index(story.answer)
        return Sample(ids, answer, tuple(positions), story.facts, story.question)

    def write(
        self,
        rng: np.random.Generator,
        out: Ids,
        noise: Filler,
        segment_tokens: int,
        fact_fragments: FactFragments | None = None,
        late: LateFacts | None = None,
    ) -> tuple[Story, list[int], list[int]]:
        """``sample`` into a row that is there, for which ``require_room`` was asked before.

        Returns:
            The story, the position of each fact, and the last one of each question but the last.
        """
        vocabulary = noise.vocabulary
        story = self.story_within(rng, len(out), vocabulary)
        facts = [vocabulary.array(text) for text in _in_order(story)]
        closing = [vocabulary.array(one.question) for one in story.closing]
        question = np.concatenate([*closing, vocabulary.array(story.question)])
        lengths = [len(fact) for fact in facts]
        room = Room(len(out), segment_tokens, len(question))
        text, starts = noise.stretch(rng, len(out) - len(question) - sum(lengths))
        if fact_fragments is not None:
            text = fact_fragments.scatter(rng, text, starts)
        positions = self._placement.positions(rng, lengths, starts, room, late)
        order = sorted(range(len(facts)), key=positions.__getitem__)
        ordered = [positions[index] for index in order], [facts[index] for index in order]
        Splice(len(out), *ordered, question).read(0, out, copied_from(text))
        asked_last = list(accumulate(map(len, closing), initial=len(out) - len(question) - 1))[1:]
        if not story.between:
            return story, positions, asked_last
        asked = {one.told + index for index, one in enumerate(story.between)}
        told = [at for index, at in enumerate(positions) if index not in asked]
        among = [positions[index] + lengths[index] - 1 for index in sorted(asked)]
        return story, told, [*among, *asked_last]

    @cached_property
    def _placement(self) -> Placement:
        return Placement.parse(self.placement)

    @cached_property
    def _texts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.all_facts(), self.all_questions()


def _in_order(story: Story) -> Sequence[str]:
    """Lists the facts, and the questions in between where they are asked."""
    texts, done = [], 0
    for one in story.between:
        texts += [*story.facts[done : one.told], one.question]
        done = one.told
    return [*texts, *story.facts[done:]]


@lru_cache(maxsize=64)
def _longest(
    texts: tuple[tuple[str, ...], tuple[str, ...]], vocabulary: TextCoder
) -> tuple[int, int]:
    """Counts the tokens of the longest fact and of the longest question."""
    facts, questions = (max(len(vocabulary.array(text)) for text in kind) for kind in texts)
    return facts, questions


def pick(rng: np.random.Generator, count: int) -> int:
    """Draws a whole number below ``count``; several times faster than ``rng.integers``."""
    return int(rng.random() * count)
