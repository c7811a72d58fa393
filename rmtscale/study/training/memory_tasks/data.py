"""Task, vocabulary and noise of a training, and the batches of any length made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.fact_fragments import FactFragments
from rmtscale.study.tasks.noise import Noise, Padding
from rmtscale.study.tasks.placement import LateFacts
from rmtscale.study.tasks.task import Task
from rmtscale.study.tasks.vocabulary import (
    TextCoder,
    TokenizerVocabulary,
    Vocabulary,
    vocabulary_from_mapping,
)
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

_VALIDATION_SEED = 1_000_003
"""Added to the seed: validation draws other stories than training, not only other noise."""


class TaskData:
    """Samples of one task, in one vocabulary, from both splits.

    Args:
        settings: of the training; task, options and background are what is used.
        vocabulary: of a checkpoint; None makes it of the training text and the task's words, or
            takes a pretrained backbone's own tokenizer.

    Raises:
        BadInput: no such task or option, or no such background.
    """

    def __init__(self, settings: MemoryTaskSettings, vocabulary: TextCoder | None = None) -> None:
        for option in ("split", "name"):
            if option in settings.task_options:
                raise BadInput(f"task option {option!r}: expected others, training sets this one")
        self.settings = settings
        self.task = make_task(settings.task, **settings.task_options)
        self._vocabulary = vocabulary
        self._noises: dict[str, Noise] = {}
        self._made: dict[tuple[object, ...], Batches] = {}

    @cached_property
    def vocabulary(self) -> TextCoder:
        """Given, or built from the training text."""
        if self._vocabulary is not None:
            return self._vocabulary
        if self.settings.backbone not in SIZES:
            return TokenizerVocabulary(self.settings.backbone)
        documents = _documents(self.settings.background, "train")
        words = self.task.words()
        return Vocabulary.build(documents, self.settings.vocabulary_words, words)

    def shortest_tokens(self) -> int:
        """Text tokens that hold facts and question, and the questions among the facts."""
        least = self.task.least_tokens(self.vocabulary)
        asking = self.task.asking_between() if self.settings.between_share else None
        return least if asking is None else max(least, asking.least_tokens(self.vocabulary))

    def split_task(
        self, split: str, *, contrast: bool = False, between: bool = False, closing: bool = False
    ) -> Task:
        """Draws the task, or its contrasts, or with more questions, from a split."""
        task: Task | None = self.task
        if contrast:
            task = self.task.contrasts()
        elif between:
            task = self.task.asking_between()
        elif closing:
            task = self.task.asking_last(self.settings.closing_questions)
        if task is not None and self.settings.rare_share and split == "train":
            task = task.preferring_rare(self.settings.rare_share)
        assert task is not None, "only what a task has is asked of it"
        return replace(task, split=split)

    def batches(
        self,
        tokens: int,
        segment_tokens: int,
        *,
        split: str = "train",
        contrast: bool = False,
        between: bool = False,
        closing: bool = False,
        bare: bool = False,
        late_tokens: int = 0,
        batch_size: int | None = None,
        seed: int | None = None,
    ) -> Batches:
        """Batches of one length; kept, because a curriculum comes back to a length.

        Some of the last facts stand in the last ``late_tokens``, where the settings have it so.
        """
        size = self.settings.batch_size if batch_size is None else batch_size
        own_seed = self.settings.seed if seed is None else seed
        if split == "validation":
            own_seed += _VALIDATION_SEED
        most = self.settings.late_facts
        late = LateFacts(most, late_tokens) if most and late_tokens else None
        kind = (split, contrast, between, closing, bare, late)
        key = (tokens, segment_tokens, *kind, size, own_seed)
        if key not in self._made:
            task = self.split_task(split, contrast=contrast, between=between, closing=closing)
            self._made[key] = Batches(
                task,
                self.vocabulary,
                Padding(self.vocabulary) if bare else self.noise(split),
                tokens,
                size,
                own_seed,
                segment_tokens,
                self._fact_fragments if split == "train" and not bare else None,
                late,
            )
        return self._made[key]

    @cached_property
    def question_tokens(self) -> int:
        """Tokens of the longest question."""
        return max(len(self.vocabulary.array(text)) for text in self.task.all_questions())

    @cached_property
    def _fact_fragments(self) -> FactFragments | None:
        share = self.settings.fact_fragments
        return self.task.fact_fragments(self.vocabulary, share) if share else None

    def noise(self, split: str) -> Noise:
        """Returns the background of a split, or ``evaluation``, as token ids; kept."""
        if split not in self._noises:
            documents = _documents(self.settings.background, split)
            repeats = self.settings.noise_repeats
            self._noises[split] = Noise(documents, self.vocabulary, repeats=repeats)
        return self._noises[split]


@lru_cache(maxsize=4)
def _documents(source: str, split: str) -> tuple[str, ...]:
    return tuple(load_background(source, split))


def class_ids(data: TaskData) -> list[int]:
    """Returns the first token of each answer's word.

    Raises:
        BadInput: two answers that begin with the same token.
    """
    words: dict[int, str] = {}
    for word in data.task.classes:
        first = int(data.vocabulary.array(word)[0])
        if first in words:
            raise BadInput(
                f"answers {words[first]!r} and {word!r} begin with the same token: expected each "
                "to begin with a token of its own in this vocabulary"
            )
        words[first] = word
    return list(words)


def restore_data(settings: MemoryTaskSettings, vocabulary: Mapping[str, Any]) -> TaskData:
    """Returns the task of a checkpoint, in its own vocabulary."""
    return TaskData(settings, vocabulary_from_mapping(vocabulary))
