"""Documents into training and validation, with no run of ten words in both.

Whole documents go to one side, chosen by a digest of their text: the same text is split the same
way everywhere, and a text that is there twice is on one side. What documents quote of one another
(licences, boilerplate) is then cut out of validation, sentence by sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.noise import sentences

VALIDATION_SHARE = 0.1
"""Share of all characters; at least one document."""
RUN_WORDS = 10
_SEED = b"rmtscale background"
_WORD = re.compile(r"\w+")
_MULTIPLIERS = np.random.Generator(np.random.PCG64(10)).integers(
    2**63, size=RUN_WORDS, dtype=np.uint64
) | np.uint64(1)

Hashes = npt.NDArray[np.uint64]


def split_documents(documents: Sequence[str], split: str, source: str) -> list[str]:
    """One side of documents that come without a split.

    Args:
        documents: texts, in any order.
        split: ``train`` or ``validation``.
        source: what messages call them.

    Raises:
        BadInput: fewer than two different documents, or validation only quotes training.
    """
    texts = {document for document in documents if document.strip()}
    if len(texts) < 2:
        raise BadInput(
            f"text {source!r} of {len(texts)} documents: expected 2 or more, one to validate"
        )
    ordered = sorted(texts, key=lambda text: sha256(_SEED + text.encode()).digest())
    wanted, count, seen = VALIDATION_SHARE * sum(map(len, ordered)), 0, 0
    while seen < wanted and count < len(ordered) - 1:
        seen += len(ordered[count])
        count += 1
    if split == "train":
        return ordered[count:]
    validation = without_shared(ordered[count:], ordered[:count])
    if not validation:
        raise BadInput(f"text {source!r}: expected documents that do not repeat one another")
    return validation


def without_shared(train: Sequence[str], validation: Sequence[str]) -> list[str]:
    """``validation`` without the sentences that share a run of ten words with ``train``.

    Words are compared without case and punctuation, by 64-bit hashes of the runs: two different
    runs that collide can only cost a sentence, never let one through.
    """
    numbers: dict[str, int] = {}
    known = np.unique(np.concatenate([_runs(_words(text, numbers)) for text in train]))
    cleaned = []
    for text in validation:
        pieces = whole = sentences(text)
        # What is left closes ranks, which may make a new run: until there is none.
        while pieces:
            words = [_words(piece, numbers) for piece in pieces]
            shared = np.flatnonzero(_among(_runs(np.concatenate(words)), known))
            if not len(shared):
                # Verbatim where nothing was cut: a language model reads line ends too.
                cleaned.append(text if pieces == whole else "\n\n".join(pieces))
                break
            counts = np.cumsum([len(one) for one in words])
            first = np.searchsorted(counts, shared, side="right")
            last = np.searchsorted(counts, shared + RUN_WORDS - 1, side="right")
            gone = {i for low, high in zip(first, last, strict=True) for i in range(low, high + 1)}
            pieces = [piece for index, piece in enumerate(pieces) if index not in gone]
    return cleaned


def _words(text: str, numbers: dict[str, int]) -> Hashes:
    """Numbers each word."""
    found = _WORD.findall(text.lower())
    return np.array([numbers.setdefault(word, len(numbers) + 1) for word in found], dtype=np.uint64)


def _runs(words: Hashes) -> Hashes:
    """Hashes each run of ten words."""
    count = max(len(words) - RUN_WORDS + 1, 0)
    total = np.zeros(count, dtype=np.uint64)
    for offset, multiplier in enumerate(_MULTIPLIERS):
        total += words[offset : offset + count] * multiplier
    return total


def _among(runs: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Which runs are in ``known``, which is sorted."""
    if not len(known):
        return np.zeros(len(runs), dtype=np.bool_)
    nearest: Hashes = known[np.minimum(np.searchsorted(known, runs), len(known) - 1)]
    return np.equal(nearest, runs)
