"""Text to token ids: a word vocabulary made of the training text, or a tokenizer's own.

Models trained from random initialisation read whole words: every fact is the same few ids
wherever it stands, and a vocabulary of a few thousand keeps the embedding small. Pretrained
backbones read what their tokenizer makes of the text.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.readers import parse_json
from rmtscale.study.tasks.tokenizer_files import parse_tokenizer, tokenizer_json

Ids = npt.NDArray[np.int32]
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
# What tokenizers call their special tokens; GPT-2 has one for everything.
_NAMES = {
    "pad": ("[PAD]", "<pad>", "<|endoftext|>", "</s>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
    "cls": ("[CLS]", "<s>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<|endoftext|>"),
}


def split_words(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks: ``["where", "is", "mary", "?"]``."""
    return _WORD.findall(text.lower())


class TextCoder(ABC):
    """Turns text into token ids and back, as tasks and noise need it."""

    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int

    def __init__(self) -> None:
        self._remembered: dict[str, Ids] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of ids; what a model's embedding needs."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Encodes a text as ids, no special token added."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the token of each id."""

    def text(self, ids: Iterable[int]) -> str:
        """Returns ids as text, its words with spaces between them."""
        return " ".join(self.decode(ids))

    @abstractmethod
    def to_mapping(self) -> dict[str, Any]:
        """JSON-able, self-contained; ``vocabulary_from_mapping`` reads it back."""

    def makes_the_ids_of(self, other: TextCoder) -> bool:
        """Tells whether both make the same ids of every text, whatever they are called."""
        own, others = (
            {key: value for key, value in one.to_mapping().items() if key != "name"}
            for one in (self, other)
        )
        return own == others

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each."""
        return [self.encode(text) for text in texts]

    def array(self, text: str) -> Ids:
        """Returns the ids of a short text that comes again and again: remembered, read-only."""
        ids = self._remembered.get(text)
        if ids is None:
            ids = np.array(self.encode(text), dtype=np.int32)
            ids.flags.writeable = False
            self._remembered[text] = ids
        return ids


class Vocabulary(TextCoder):
    """Words by id: four special ones, then the task's own, then the most frequent of the text.

    Args:
        words: every word once, its place is its id; the first four are ``SPECIALS``.

    Raises:
        BadInput: a word twice, or other special words.
    """

    pad_id, unk_id, cls_id, sep_id = range(4)

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        if tuple(words[:4]) != SPECIALS:
            raise BadInput(
                f"vocabulary that starts with {list(words[:4])}: expected {list(SPECIALS)}"
            )
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise BadInput(f"vocabulary with {twice!r} twice: expected every word once")

    @classmethod
    def build(cls, documents: Iterable[str], size: int, words: Iterable[str]) -> Vocabulary:
        """``words`` (the task's own) and the most frequent words of ``documents``.

        Equally frequent words go by the alphabet, so that the same text gives the same ids.

        Raises:
            BadInput: ``size`` has no room for the special ids and ``words``.
        """
        task_words = list(dict.fromkeys(words))
        least = len(SPECIALS) + len(task_words)
        if size < least:
            raise BadInput(f"vocabulary of {size}: expected {least} or more, the task's own words")
        counts: Counter[str] = Counter()
        for document in documents:
            counts.update(split_words(document))
        for word in task_words:
            del counts[word]
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([*SPECIALS, *task_words, *ranked[: size - least]])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        get = self._ids.get
        return [get(word, 1) for word in _WORD.findall(text.lower())]

    def decode(self, ids: Iterable[int]) -> list[str]:
        return [self.words[index] for index in ids]

    def to_mapping(self) -> dict[str, Any]:
        return {"kind": "words", "words": list(self.words)}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Vocabulary:
        """Reads back what ``to_mapping`` made.

        Raises:
            BadInput: no list of words.
        """
        words = mapping.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise BadInput("vocabulary without words: expected a list of words")
        return cls(words)


class TokenizerVocabulary(TextCoder):
    """A Hugging Face tokenizer: of a folder, a ``tokenizer.json``, or a hub name.

    Byte-level tokenizers (GPT-2) spell a word differently after a space. Every text is encoded as
    if a space stood before it, so that a fact reads the same at the start and in the middle.

    Raises:
        BadInput: no tokenizer of that name, or one without special tokens.
        MissingDependency: the light installation, which lacks ``tokenizers``.
    """

    def __init__(self, name: str, text: str | None = None) -> None:
        super().__init__()
        self.name = name
        self._source = text or tokenizer_json(name)
        self._tokenizer = parse_tokenizer(name, self._source)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (
            self._special(kind) for kind in ("pad", "unk", "cls", "sep")
        )
        bare, spaced = (
            self._tokenizer.encode(text, add_special_tokens=False).ids for text in ("the", " the")
        )
        self._prefix = "" if bare == spaced else " "

    def _special(self, kind: str) -> int:
        for token in _NAMES[kind]:
            index: int | None = self._tokenizer.token_to_id(token)
            if index is not None:
                return index
        raise BadInput(
            f"tokenizer {self.name!r}: no {kind} token, expected one of {', '.join(_NAMES[kind])}"
        )

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        spaced = [self._prefix + " ".join(text.split()) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(spaced, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> list[str]:
        return [self._tokenizer.id_to_token(int(index)) or "" for index in ids]

    def text(self, ids: Iterable[int]) -> str:
        known = len(self)
        text: str = self._tokenizer.decode([int(index) for index in ids if int(index) < known])
        return text

    @property
    def digest(self) -> str:
        """16 hex digits of its ``tokenizer.json``, however that is laid out: two tokenizers with
        the same one make the same ids."""
        content = parse_json(self._source, f"tokenizer {self.name!r}")
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_mapping(self) -> dict[str, Any]:
        return {
            "kind": "tokenizer",
            "name": Path(self.name).name,
            "tokenizer": self._tokenizer.to_str(),
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TokenizerVocabulary:
        """Reads back what ``to_mapping`` made.

        Raises:
            BadInput: no tokenizer in it.
        """
        name, text = mapping.get("name"), mapping.get("tokenizer")
        if not isinstance(name, str) or not isinstance(text, str):
            raise BadInput("vocabulary without a tokenizer: expected its name and its JSON")
        return cls(name, text)


def vocabulary_from_mapping(mapping: object) -> TextCoder:
    """Returns the vocabulary stored beside a checkpoint.

    Raises:
        BadInput: of a kind that is not known.
    """
    kinds: dict[object, type[Vocabulary | TokenizerVocabulary]] = {
        "words": Vocabulary,
        "tokenizer": TokenizerVocabulary,
    }
    kind = mapping.get("kind") if isinstance(mapping, Mapping) else None
    if not isinstance(mapping, Mapping) or kind not in kinds:
        raise BadInput(f"vocabulary of kind {kind!r}: expected one of {', '.join(map(str, kinds))}")
    return kinds[kind].from_mapping(mapping)
