"""Finds the ``tokenizer.json`` that a name stands for, and makes a tokenizer of its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.specs.huggingface import hub_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tokenizer_json(name: str, instead: str = "a tokenizer.json or its folder") -> str:
    """Returns the text of a ``tokenizer.json``: a file, a folder that holds one, or a hub name.

    Args:
        name: file, folder or repository.
        instead: what else could have been given, for messages.

    Raises:
        BadInput: nothing of that name, or a file that is no text.
        MissingDependency: a hub name in the light installation.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"tokenizer {name!r}: cannot be read as text") from error
    if Path(name).is_dir():
        raise BadInput(f"tokenizer {name!r}: expected a tokenizer.json in this folder")
    return hub_text(name, "tokenizer.json", what="tokenizer", instead=instead)


def parse_tokenizer(name: str, text: str) -> Tokenizer:
    """Returns the tokenizer that a ``tokenizer.json`` describes; it neither cuts nor pads.

    Args:
        name: what messages call it.
        text: of the file.

    Raises:
        BadInput: not such a file.
        MissingDependency: the light installation, which lacks ``tokenizers``.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingDependency(
            f"tokenizer {name!r}: needs pip install 'rmtscale[measure]'"
        ) from error
    try:
        tokenizer: Tokenizer = Tokenizer.from_str(text)
    # The library raises bare exceptions for whatever is wrong with the text.
    except Exception as error:
        raise BadInput(f"tokenizer {name!r}: expected a tokenizer.json of tokenizers") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
