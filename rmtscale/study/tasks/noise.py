"""Unrelated text as one array of token ids: any stretch of it begins where a sentence begins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.vocabulary import Ids, TextCoder

# After an end mark, with or without a closing quote or bracket, or at an empty line.
_BOUNDARY = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'\u201d\u2019)\]])\s+|\s*\n\s*\n\s*")
_NONE = np.empty(0, dtype=np.int64)


class Stretch(NamedTuple):
    """Some noise and where its sentences start."""

    ids: Ids
    starts: npt.NDArray[np.int64]
    """Offsets into ``ids``, ascending; the first one is 0."""


def sentences(text: str) -> list[str]:
    """Cuts a text after full stops, exclamation and question marks, and at empty lines.

    "Mr. Smith" is cut too: these are places where a fact may stand, no claim about grammar.
    """
    return [piece for piece in _BOUNDARY.split(text) if piece and not piece.isspace()]


class Filler(Protocol):
    """Fills what is before, between and behind the facts."""

    @property
    def vocabulary(self) -> TextCoder: ...

    def require(self, tokens: int) -> None: ...

    def stretch(self, rng: np.random.Generator, tokens: int) -> Stretch: ...


class Padding:
    """Fills with padding alone, and in front: a story is learned before it is looked for.

    Args:
        vocabulary: has the id of the padding.
    """

    def __init__(self, vocabulary: TextCoder) -> None:
        self.vocabulary = vocabulary

    def require(self, tokens: int) -> None:
        """Says nothing: there is as much as is asked for."""

    def stretch(self, rng: np.random.Generator, tokens: int) -> Stretch:
        """Returns padding without any start of a sentence: facts stand behind all of it."""
        del rng
        return Stretch(np.full(tokens, self.vocabulary.pad_id, dtype=np.int32), _NONE)


class Noise:
    """Documents tokenized once; a stretch is a slice.

    A stretch runs from a random sentence to the end of its document; where that is too short, it
    goes on at another random sentence, so that a long input is no document repeated end to end.

    Args:
        documents: texts.
        vocabulary: makes ids of them.
        repeats: whether a stretch may hold the same text twice. Without, a stretch that outlasts
            its document takes the others whole, in random order, and ends with what stood before
            its own start: all text once.

    Raises:
        BadInput: documents without any token.
    """

    def __init__(
        self, documents: Sequence[str], vocabulary: TextCoder, *, repeats: bool = True
    ) -> None:
        self.vocabulary, self.repeats = vocabulary, repeats
        parts: list[Ids] = []
        starts, lengths, self.words = [], [], 0
        """Words of all text, as they stand between spaces."""
        for document in documents:
            encoded = [ids for ids in vocabulary.encode_many(sentences(document)) if ids]
            if encoded:
                parts.append(np.array([index for ids in encoded for index in ids], dtype=np.int32))
                starts += [len(ids) for ids in encoded]
                lengths.append((len(parts[-1]), len(encoded)))
                self.words += len(document.split())
        if not parts:
            raise BadInput(f"noise of {len(documents)} documents: expected some text in them")
        self.ids: Ids = np.concatenate(parts)
        self.ids.flags.writeable = False
        """All text, document after document."""
        self.sentence_starts = np.cumsum([0, *starts[:-1]], dtype=np.int64)
        self.document_starts = np.cumsum([0, *(size for size, _ in lengths)], dtype=np.int64)
        """Start of each document, and one more: the end of the last one."""
        self._document = np.repeat(np.arange(len(lengths)), [count for _, count in lengths])

    @property
    def tokens(self) -> int:
        """All tokens there are."""
        return len(self.ids)

    def require(self, tokens: int) -> None:
        """Raises ``BadInput`` for more tokens than there are when ``repeats`` is off."""
        if not self.repeats and tokens > len(self.ids):
            raise BadInput(
                f"noise of {tokens} tokens without repeats: expected {len(self.ids)} or less, "
                "all there is"
            )

    def stretch(self, rng: np.random.Generator, tokens: int) -> Stretch:
        """Takes a random stretch of exactly ``tokens`` ids that begins at a sentence start.

        Its ids are read-only where they are a slice.

        Raises:
            BadInput: more than there are, and ``repeats`` is off.
        """
        self.require(tokens)
        if tokens < 1:
            return Stretch(self.ids[:0], _NONE)
        start, document = self._sentence(rng)
        first = (start, int(self.document_starts[document + 1]))
        if first[1] - start >= tokens:
            return self._joined([(start, start + tokens)])
        pieces, missing = [first], tokens - (first[1] - start)
        for piece in self._more(rng, start, document):
            size = min(piece[1] - piece[0], missing)
            pieces.append((piece[0], piece[0] + size))
            missing -= size
            if not missing:
                break
        return self._joined(pieces)

    def rounds(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yields pieces of the text without an end, as start and stop.

        All of it comes once, beginning at a random sentence, then again from another one.
        """
        while True:
            start, document = self._sentence(rng)
            yield start, int(self.document_starts[document + 1])
            for piece in self._others(rng, start, document):
                if piece[0] < piece[1]:
                    yield piece

    def _sentence(self, rng: np.random.Generator) -> tuple[int, int]:
        index = int(rng.random() * len(self.sentence_starts))
        return int(self.sentence_starts[index]), int(self._document[index])

    def _more(
        self, rng: np.random.Generator, start: int, document: int
    ) -> Iterator[tuple[int, int]]:
        """Yields the pieces that follow when the first document ends, as start and stop."""
        while self.repeats:
            again, other = self._sentence(rng)
            yield again, int(self.document_starts[other + 1])
        yield from self._others(rng, start, document)

    def _others(
        self, rng: np.random.Generator, start: int, document: int
    ) -> Iterator[tuple[int, int]]:
        """Yields all documents but one in random order, and that one up to a start."""
        for other in rng.permutation(len(self.document_starts) - 1).tolist():
            if other != document:
                yield int(self.document_starts[other]), int(self.document_starts[other + 1])
        yield int(self.document_starts[document]), start

    def _joined(self, pieces: Sequence[tuple[int, int]]) -> Stretch:
        ids, starts, offset = [], [], 0
        for start, stop in pieces:
            low, high = np.searchsorted(self.sentence_starts, (start, stop))
            ids.append(self.ids[start:stop])
            starts.append(self.sentence_starts[low:high] + (offset - start))
            offset += stop - start
        if len(pieces) == 1:
            return Stretch(ids[0], starts[0])
        return Stretch(np.concatenate(ids), np.concatenate(starts))
