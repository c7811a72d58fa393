"""Documents as one array of token ids on the disk: tokenized once, then mapped into memory.

A folder holds ``tokens.bin`` (the ids of all documents, one after the other), ``starts.bin``
(where each document starts, and where the last one stops) and ``packed.json`` (what these are, and
their digest). A folder in which anything else is found is an error, never used and never repaired.

Shape legend: T tokens of all documents, D documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.files import remove_leavings, whole_folder, write_whole
from rmtscale.readers import no_such_file, read_json
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.tokenizer import TextTokenizer

FORMAT_VERSION = 1
Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
_TOKENS, _STARTS, _MEANING = "tokens.bin", "starts.bin", "packed.json"
_START: np.dtype[np.int64] = np.dtype("<i8")
_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True, slots=True)
class Packed:
    """Token ids of documents; ``len`` is how many documents there are."""

    tokens: Tokens
    """(T,), read-only, in memory only where it was read."""
    starts: npt.NDArray[np.int64]
    """(D + 1,), the first is 0 and the last T."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(D,), tokens of each document."""
        return np.diff(self.starts)

    def document(self, index: int) -> Tokens:
        """Returns the ids of one document."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]


def pack(documents: Iterable[str], tokenizer: TextTokenizer, folder: Path) -> Packed:
    """Tokenizes documents into a new folder, whole or not at all.

    Two processes may pack the same documents at the same time: the first to finish is kept.

    Args:
        documents: texts; read once, not held in memory.
        tokenizer: makes the ids.
        folder: is made; its content is taken for that of these documents when it is there already.

    Raises:
        BadInput: no document has any token, or the folder cannot be written.
    """
    dtype = "uint16" if tokenizer.vocabulary_size <= np.iinfo(np.uint16).max else "uint32"
    digest, lengths = sha256(), []
    with whole_folder(folder) as part:
        with (part / _TOKENS).open("wb") as file:
            for ids in tokenizer.encode_each(documents):
                data = ids.astype(_DTYPES[dtype]).tobytes()
                digest.update(data)
                file.write(data)
                lengths.append(len(ids))
        starts = np.cumsum([0, *lengths], dtype=_START)
        if not starts[-1]:
            raise BadInput(f"text of {len(lengths)} documents: expected some text in them")
        digest.update(starts.tobytes())
        write_whole(part / _STARTS, starts.tobytes())
        meaning = {
            "format_version": FORMAT_VERSION,
            "dtype": dtype,
            "tokens": int(starts[-1]),
            "documents": len(lengths),
            "tokenizer": tokenizer.digest,
            "sha256": digest.hexdigest(),
        }
        write_whole(part / _MEANING, json.dumps(meaning, indent=1) + "\n")
    return open_packed(folder)


def open_packed(folder: Path) -> Packed:
    """Maps into memory what ``pack`` wrote.

    Raises:
        BadInput: no such folder, or one whose files are damaged: cut short, changed, of another
            type or version.
    """
    meaning = _meaning(folder)
    dtype = _DTYPES[meaning["dtype"]]
    sizes = {
        _TOKENS: meaning["tokens"] * dtype.itemsize,
        _STARTS: (meaning["documents"] + 1) * _START.itemsize,
    }
    digest = sha256()
    for name, size in sizes.items():
        try:
            file_bytes = (folder / name).stat().st_size
            if file_bytes != size:
                raise _damaged(folder, f"{name} has {file_bytes} bytes instead of {size}")
            with (folder / name).open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        except OSError as error:
            raise _damaged(folder, f"{name} cannot be read") from error
    if digest.hexdigest() != meaning["sha256"]:
        raise _damaged(folder, "its files are not what was written")
    # A plain view: every slice of a memmap object would carry its bookkeeping along.
    tokens = np.memmap(folder / _TOKENS, dtype, "r").view(np.ndarray)
    return Packed(tokens, np.fromfile(folder / _STARTS, _START))


def _meaning(folder: Path) -> dict[str, Any]:
    try:
        meaning = read_json(folder / _MEANING, f"packed text {str(folder)!r}")
    except BadInput as error:
        if no_such_file(error):
            raise BadInput(
                f"packed text {str(folder)!r}: expected a folder that pack made"
            ) from error
        raise _damaged(folder, f"{_MEANING} cannot be read") from error
    if not isinstance(meaning, dict) or meaning.get("format_version") != FORMAT_VERSION:
        raise _damaged(folder, f"{_MEANING} is not of version {FORMAT_VERSION}")
    counts = (meaning.get("tokens"), meaning.get("documents"))
    if meaning.get("dtype") not in _DTYPES or not all(
        type(count) is int and count > 0 for count in counts
    ):
        raise _damaged(folder, f"{_MEANING} names no type or no sizes")
    return meaning


def _damaged(folder: Path, why: str) -> BadInput:
    return BadInput(f"packed text {str(folder)!r}: damaged, {why}; expected it whole, delete it")


def packed_text(source: str, split: str, tokenizer: TextTokenizer, cache: Path) -> Packed:
    """Returns the documents of a source as token ids, tokenized where that was not done before.

    Args:
        source: as ``load_background`` takes it.
        split: ``train`` or ``validation``.
        tokenizer: makes the ids.
        cache: folder of folders, each named by what it holds: another text, split or tokenizer is
            another one.

    Raises:
        BadInput: no such source, no text in it, or a damaged folder in the cache.
        MissingDependency: a Hugging Face data set without ``datasets``.
    """
    documents = load_background(source, split)
    folder = cache / _name(documents, split, tokenizer)
    if not folder.is_dir():
        return pack(documents, tokenizer, folder)
    remove_leavings(cache, [folder.name])  # of one that was killed when its text was there already
    return open_packed(folder)


def _name(documents: Sequence[str], split: str, tokenizer: TextTokenizer) -> str:
    digest = sha256(f"{FORMAT_VERSION} {split} {tokenizer.digest}".encode())
    for number, document in enumerate(documents):
        try:
            data = document.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"document {number}: expected text, it has half a character") from error
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
