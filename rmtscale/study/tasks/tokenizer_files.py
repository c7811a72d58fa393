"""Finds the ``tokenizer.json`` that a name stands for, and makes a tokenizer of its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.limits import MOST_TOKEN_ID, MOST_TOKENIZER_BYTES
from rmtscale.readers import parse_json, read_text
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
        if not path.exists():
            raise BadInput(f"tokenizer {name!r}: expected a tokenizer.json in this folder")
    if path.exists():
        return read_text(path, f"tokenizer {name!r}", MOST_TOKENIZER_BYTES)
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
    _require_ids(parse_json(text, f"tokenizer {name!r}"), name)
    try:
        tokenizer: Tokenizer = Tokenizer.from_str(text)
    # The library raises bare exceptions for whatever is wrong with the text.
    except Exception as error:
        raise BadInput(f"tokenizer {name!r}: expected a tokenizer.json of tokenizers") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _require_ids(content: Any, name: str) -> None:
    """Refuses a token id that no model has a row for: tables are made as long as the largest."""
    model = content.get("model") if isinstance(content, dict) else None
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    if prefix and isinstance(model, dict) and model.get("type", "BPE") == "BPE":
        # The library ends the process's thread over merges that lack it.
        raise BadInput(f"tokenizer {name!r}: continuing_subword_prefix {prefix!r}, expected none")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = content.get("added_tokens") if isinstance(content, dict) else None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    if isinstance(added, list):
        ids += [token.get("id") for token in added if isinstance(token, dict)]
    for number in ids:
        if isinstance(number, int) and not 0 <= number < MOST_TOKEN_ID:
            raise BadInput(
                f"tokenizer {name!r}: token id {number}, expected 0 to {MOST_TOKEN_ID - 1:,}"
            )
