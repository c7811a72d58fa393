"""Tokenizer and text of a language training: packed once, in a folder that trainings may share."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.files import make_folder, write_whole
from rmtscale.limits import MOST_TOKENIZER_BYTES
from rmtscale.readers import read_json
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.blocks import TargetBlocks
from rmtscale.study.tasks.declaration import training_texts
from rmtscale.study.tasks.declarations import load_declarations
from rmtscale.study.tasks.lemma_proof import LemmaProof
from rmtscale.study.tasks.packing import packed_text
from rmtscale.study.tasks.tokenizer import (
    TextTokenizer,
    load_tokenizer,
    tokenizer_from_mapping,
    train_tokenizer,
)
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.language.settings import LANGUAGE_MODELING, LanguageSettings
from rmtscale.units import require_one_of

Source = TargetBlocks | LemmaProof
OPTIONS = ("order", "relevant", "most_tokens")
"""Options of lemma-proof; language modelling has none."""


class LanguageData:
    """Samples of one language task, from both splits.

    Args:
        settings: of the training; task, options, text and tokenizer are what is used.
        cache: folder of the packed text and of a tokenizer that was trained.
        tokenizer: of a checkpoint; None is what the settings say.

    Raises:
        BadInput: no such text or tokenizer, or an option the task does not have.
    """

    def __init__(
        self, settings: LanguageSettings, cache: Path, tokenizer: TextTokenizer | None = None
    ) -> None:
        self.settings, self.cache = settings, cache
        self._tokenizer = tokenizer
        self._sources: dict[tuple[str, int], Source] = {}
        if settings.task == LANGUAGE_MODELING and settings.task_options:
            name, value = next(iter(settings.task_options.items()))
            raise BadInput(f"option {name}={value!r} of task {settings.task!r}: expected none")

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """Given, named, a pretrained backbone's own, or trained on the training split."""
        if self._tokenizer is not None:
            return self._tokenizer
        if self.settings.tokenizer is not None:
            return load_tokenizer(self.settings.tokenizer)
        if self.settings.backbone not in SIZES:
            return load_tokenizer(self.settings.backbone)
        return _trained_tokenizer(self._training_texts(), self.settings, self.cache)

    def _training_texts(self) -> list[str]:
        settings = self.settings
        if settings.task == LANGUAGE_MODELING:
            return load_background(settings.text, "train")
        return training_texts(load_declarations(settings.text))

    def source(self, split: str, history_tokens: int | None = None) -> Source:
        """Opens the source of the samples of a split.

        Args:
            split: ``train`` or ``validation``.
            history_tokens: language modelling: text that every target has before it; None is what
                the settings say.
        """
        settings = self.settings
        history = settings.least_history_tokens if history_tokens is None else history_tokens
        key = (split, history)
        if key not in self._sources:
            self._sources[key] = self._make(split, history)
        return self._sources[key]

    def _make(self, split: str, history_tokens: int) -> Source:
        settings, tokenizer = self.settings, self.tokenizer
        if settings.task == LANGUAGE_MODELING:
            packed = packed_text(settings.text, split, tokenizer, self.cache)
            return TargetBlocks(
                packed, settings.scored_tokens, history_tokens, tokenizer.end_of_text
            )
        return _lemma_proof(settings, tokenizer, split)


def _lemma_proof(settings: LanguageSettings, tokenizer: TextTokenizer, split: str) -> LemmaProof:
    for name in settings.task_options:
        require_one_of(f"option of {settings.task}", name, OPTIONS)
    declarations = load_declarations(settings.text)
    options: dict[str, Any] = settings.task_options
    return LemmaProof(declarations, tokenizer, settings.segment_tokens, split, **options)


def _trained_tokenizer(texts: list[str], settings: LanguageSettings, cache: Path) -> TextTokenizer:
    """Trained once for the same text; kept beside the packed text."""
    digest = sha256(str(settings.vocabulary_size).encode())
    for text in texts:
        digest.update(sha256(text.encode()).digest())
    path = cache / f"tokenizer-{digest.hexdigest()[:16]}.json"
    if path.is_file():
        named = f"tokenizer {str(path)!r}"
        try:
            return tokenizer_from_mapping(read_json(path, named, MOST_TOKENIZER_BYTES))
        except ValueError as error:
            raise BadInput(
                f"tokenizer {str(path)!r}: {error}; expected one of this release, or none"
            ) from error
    tokenizer = train_tokenizer(texts, settings.vocabulary_size)
    make_folder(cache)
    write_whole(path, json.dumps(tokenizer.to_mapping()) + "\n")
    return tokenizer
