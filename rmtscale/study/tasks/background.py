"""Sources of the noise: this Python's own documentation, files, or a data set.

========================  ==================================================================
``python``                docstrings of the standard library and the topics of ``help()``:
                          every installation has them; another Python has other text
a folder of ``.txt``      each file a document
a ``.jsonl``, ``.jsonl.gz``   each line a document, its text in the field ``text``
a folder with ``train.jsonl.gz`` and ``validation.jsonl.gz``   taken as they stand, and
                          ``evaluation.jsonl.gz`` for long inputs where there is one
``hf:NAME[:CONFIG]``      a Hugging Face data set with a column ``text``
========================  ==================================================================

What comes without a split is split here: by document, so that no text is on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rmtscale.errors import BadInput, MissingDependency, reason_of
from rmtscale.limits import MOST_RECORDS_BYTES, MOST_TEXT_FILES
from rmtscale.readers import parse_json, read_lines, read_text
from rmtscale.study.tasks.documentation import python_documents
from rmtscale.study.tasks.splitting import split_documents
from rmtscale.study.tasks.task import SPLITS
from rmtscale.units import require_one_of

DEFAULT = "python"
EVALUATION = "evaluation"
_HUB = "hf:"
_LINES = (".jsonl.gz", ".jsonl")


def load_background(source: str = DEFAULT, split: str = "train") -> list[str]:
    """Loads the documents of noise text.

    Args:
        source: see above.
        split: ``train``, ``validation``, or ``evaluation``: what a folder has for long inputs, or
            else the validation part.

    Raises:
        BadInput: no such source, text that cannot be read, or nothing to split.
        MissingDependency: a Hugging Face data set without ``datasets``.
    """
    require_one_of("split", split, (*SPLITS, EVALUATION))
    if split == EVALUATION:
        long = _named(Path(source), EVALUATION) if source else None
        if long is not None:
            documents = list(_read_lines(long))
            if not documents:
                raise BadInput(f"text {source!r}: no text in its {split} file")
            return documents
        split = "validation"
    if source == DEFAULT:
        return split_documents(python_documents(), split, source)
    if source.startswith(_HUB):
        return _hub_documents(source, split)
    path = Path(source)
    if path.is_file() and path.name.endswith(_LINES):
        return split_documents(list(_read_lines(path)), split, source)
    if source and path.is_dir():  # no name at all would be the current folder
        given = [_named(path, name) for name in SPLITS]
        if all(given):
            documents = list(_read_lines(given[SPLITS.index(split)] or path))
            if not documents:
                raise BadInput(f"text {source!r}: no text in its {split} file")
            return documents
        files = sorted(_texts_below(path, source))
        if files:
            return split_documents([_read(file) for file in files], split, source)
    raise BadInput(
        f"text {source!r}: expected python, a .jsonl or .jsonl.gz file, a folder of .txt "
        "files or with train.jsonl.gz and validation.jsonl.gz, or hf:NAME"
    )


def _named(folder: Path, split: str) -> Path | None:
    files = (folder / f"{split}{ending}" for ending in _LINES)
    return next((file for file in files if file.is_file()), None)


def _texts_below(folder: Path, source: str) -> Iterator[Path]:
    """Yields the ``.txt`` files below a folder; a whole disk is not searched for them."""
    for number, path in enumerate(folder.rglob("*")):
        if number >= MOST_TEXT_FILES:
            raise BadInput(
                f"text {source!r}: expected a folder with no more than {MOST_TEXT_FILES:,} files"
            )
        if path.suffix == ".txt":
            yield path


def _read(path: Path) -> str:
    return read_text(path, f"text {str(path)!r}", MOST_RECORDS_BYTES)


def _read_lines(path: Path) -> Iterator[str]:
    """Yields the texts of a file of JSON lines."""
    named = f"text {str(path)!r}"
    for number, line in enumerate(read_lines(path, named), 1):
        if line.strip():
            yield _text(line, f"{named}, line {number}")


def _text(line: str, where: str) -> str:
    record = parse_json(line, where)
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise BadInput(f"{where}: expected an object with a field 'text'")
    require_encodable(text, where)
    return text


def require_encodable(text: str, where: str) -> None:
    """Raises ``BadInput`` for half a surrogate pair, which JSON can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{where}: {error.object[error.start]!r}, expected whole characters"
        ) from error


def _hub_documents(source: str, split: str) -> list[str]:
    name, _, config = source.removeprefix(_HUB).partition(":")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingDependency(f"text {source!r}: needs pip install 'rmtscale[text]'") from error
    try:
        dataset = load_dataset(name, config or None)
        given = all(side in dataset for side in SPLITS)
        documents = [str(text) for text in dataset[split if given else "train"]["text"]]
    # The library raises a dozen kinds (network, HTTP, no such name, column or split); to the
    # user they are one: that name gave no text.
    except Exception as error:
        raise BadInput(
            f"text {source!r}: expected a data set with a split 'train' and a column 'text' "
            f"({reason_of(error)})"
        ) from error
    documents = [document for document in documents if document.strip()]
    return documents if given else split_documents(documents, split, source)
