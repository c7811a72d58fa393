"""Text to the token ids of a byte-level BPE, and what each id stands for: bytes, a place.

Language modelling needs every token to stand for known bytes, so that losses can be given per byte
and compared between tokenizers. A byte-level BPE has that: what it made of a text is the text again
when its tokens are put together, and no text is unknown to it. Some that were trained on a text
alone lack control characters and the first bytes of planes that nobody writes in (SmolLM2's): these
they would leave out silently, so that a text that holds one is refused.

What a text says of special tokens is text: a document that holds the words ``<|endoftext|>`` does
not end there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.study.tasks.tokenizer_files import parse_tokenizer, tokenizer_json

END_OF_TEXT = "<|endoftext|>"
Ids = npt.NDArray[np.int32]
LEAST_VOCABULARY = 257
"""Every byte, and the end of a text."""
_ENDS = (END_OF_TEXT, "</s>", "<|end_of_text|>")
_KIND = "byte-level-bpe"
_NEEDED_BYTES = frozenset({*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF1)})
"""Bytes without which a tokenizer is none: of UTF-8 all but control characters and planes 4 on."""
CHUNK_CHARACTERS = 2_000_000
"""Encoded at once: the library needs about 100 bytes a token while it works."""
_PROBE = "Two  spaces,\n\n\ttabs, 12 \\alpha, caf\u00e9, \u2115 \u22a2 \U0001d55c."


class Spelled(NamedTuple):
    """The tokens of a text and where in it each one stands."""

    ids: Ids
    """(n,)"""
    spans: npt.NDArray[np.int64]
    """(n, 2), first character and the one after the last."""


class TextTokenizer:
    """A byte-level BPE.

    Args:
        name: what messages call it.
        text: of its ``tokenizer.json``.

    Raises:
        BadInput: no tokenizer, one of another kind, or one without a token for the end of a text.
        MissingDependency: the light installation, which lacks ``tokenizers``.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._tokenizer = parse_tokenizer(name, text)
        self._tokenizer.encode_special_tokens = True
        self._canonical = json.dumps(
            json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        self.digest = sha256(self._canonical.encode()).hexdigest()[:16]
        """16 hex digits: two tokenizers with the same one make the same ids."""
        self._unknown = self._unknown_characters()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        added = self._tokenizer.get_added_tokens_decoder()
        ends = [vocabulary[end] for end in _ENDS if vocabulary.get(end) in added]
        if not ends:
            raise BadInput(f"tokenizer {name!r}: expected one of the tokens {', '.join(_ENDS)}")
        self.end_of_text: int = ends[0]
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        """Ids a model needs rows for."""
        self.token_bytes = np.zeros(self.vocabulary_size, dtype=np.int32)
        """(V,), UTF-8 bytes that each id stands for; 0 for special tokens."""
        for token, index in vocabulary.items():
            if index not in added:
                self.token_bytes[index] = len(token)  # one character for each byte
            elif not added[index].special:
                self.token_bytes[index] = len(token.encode())
        self.token_bytes.flags.writeable = False

    def _unknown_characters(self) -> re.Pattern[str] | None:
        """Matches a character that would be left out; None where there is no such character."""
        from tokenizers import models

        known = self._tokenizer.get_vocab().keys()
        missing = {byte for byte, sign in _byte_signs().items() if sign not in known}
        if (
            not isinstance(self._tokenizer.model, models.BPE)
            or missing & _NEEDED_BYTES
            or self.decode(self._tokenizer.encode(_PROBE, add_special_tokens=False).ids) != _PROBE
        ):
            raise BadInput(f"tokenizer {self.name!r}: expected a byte-level BPE, as GPT-2 has")
        ranges = []
        for byte in sorted(missing):
            if byte < 0x80:
                ranges.append((byte, byte))
            elif 0xF1 <= byte <= 0xF4:  # of four bytes, the first has the highest three bits
                first = (byte & 7) << 18
                ranges.append((first, min(first + (1 << 18) - 1, sys.maxunicode)))
        if not ranges:
            return None
        return re.compile("[" + "".join(f"{_escaped(a)}-{_escaped(b)}" for a, b in ranges) + "]")

    def _known(self, text: str) -> str:
        """Returns the text, refused where a character of it would be left out."""
        found = None if self._unknown is None else self._unknown.search(text)
        if found is not None:
            raise BadInput(
                f"text with {found[0]!r} at character {found.start():,}: tokenizer {self.name!r} "
                "has no token for it, expected text without it"
            )
        return text

    def encode(self, text: str) -> Ids:
        """Encodes a text as ids, no special token added.

        Raises:
            BadInput: a character that the tokenizer has no token for, here and below.
        """
        encoding = self._tokenizer.encode(self._known(text), add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int32)

    def encode_each(self, texts: Iterable[str]) -> Iterator[Ids]:
        """Yields the ids of each text, made on all cores, in memory of the longest text."""
        for chunk in _chunks(map(self._known, texts)):
            for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int32)

    def encode_with_spans(self, text: str) -> Spelled:
        """Encodes a text as ids and the characters that each stands for.

        A character of several tokens is the span of each of them. Whether the space before a word
        belongs to the word's span is up to the tokenizer.
        """
        encoding = self._tokenizer.encode(self._known(text), add_special_tokens=False)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return Spelled(np.array(encoding.ids, dtype=np.int32), spans)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of some ids; bytes that are no whole character become U+FFFD."""
        text: str = self._tokenizer.decode([int(index) for index in ids], skip_special_tokens=False)
        return text

    def to_mapping(self) -> dict[str, Any]:
        """JSON-able, self-contained; ``tokenizer_from_mapping`` reads it back."""
        return {"kind": _KIND, "name": self.name, "tokenizer": self._canonical}


def _byte_signs() -> dict[int, str]:
    """Returns the character by which a byte-level BPE writes each byte (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in shown]
    signs = {byte: chr(byte) for byte in shown}
    return signs | {byte: chr(0x100 + number) for number, byte in enumerate(hidden)}


def _escaped(point: int) -> str:
    return f"\\U{point:08x}"


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def tokenizer_from_mapping(mapping: object) -> TextTokenizer:
    """Reads back what ``to_mapping`` made.

    Raises:
        BadInput: of another kind, or damaged.
        MissingDependency: the light installation.
    """
    kind = mapping.get("kind") if isinstance(mapping, Mapping) else None
    if not isinstance(mapping, Mapping) or kind != _KIND:
        raise BadInput(f"tokenizer of kind {kind!r}: expected {_KIND}")
    name, text = mapping.get("name"), mapping.get("tokenizer")
    if not isinstance(name, str) or not isinstance(text, str):
        raise BadInput("tokenizer without its JSON: expected its name and its JSON")
    return TextTokenizer(name, text)


def train_tokenizer(
    documents: Sequence[str], vocabulary_size: int, name: str = "trained"
) -> TextTokenizer:
    """Trains a byte-level BPE on some texts (Radford et al. 2019, section 2.2).

    The same texts in any order give the same tokenizer. Texts that do not hold as many pairs give
    a smaller one than asked for.

    Raises:
        BadInput: fewer ids than there are bytes.
        MissingDependency: the light installation.
    """
    if vocabulary_size < LEAST_VOCABULARY:
        raise BadInput(
            f"vocabulary size {vocabulary_size}: expected {LEAST_VOCABULARY} or more, every byte "
            "and the end of a text"
        )
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingDependency(
            "training a tokenizer: needs pip install 'rmtscale[measure]'"
        ) from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
    return TextTokenizer(name, tokenizer.to_str())


def committed_tokenizers() -> tuple[str, ...]:
    """Names of the tokenizers that come with rmtscale."""
    folder = files("rmtscale.study.tasks") / "tokenizers"
    names = (file.name for file in folder.iterdir() if file.name.endswith(".json"))
    return tuple(sorted(name.removesuffix(".json") for name in names))


def load_tokenizer(name: str) -> TextTokenizer:
    """Loads a tokenizer of rmtscale's own, a ``tokenizer.json``, its folder, or a hub name.

    Raises:
        BadInput: nothing of that name, or no byte-level BPE.
        MissingDependency: the light installation.
    """
    committed = committed_tokenizers()
    if name in committed:
        file = files("rmtscale.study.tasks") / "tokenizers" / f"{name}.json"
        return TextTokenizer(name, file.read_text(encoding="utf-8"))
    instead = f"{', '.join(committed)}, a tokenizer.json or its folder"
    return TextTokenizer(name, tokenizer_json(name, instead))
