"""Declaration: a statement with its proof and the lemmas that this uses; how these are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
SEPARATOR = "\n\n"
"""Written after a statement."""
PROOF_SIGN = ":=\n"
"""Written before a proof."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A theorem or lemma; or a function."""

    name: str
    """Full name, with namespaces and dots: ``nat.succ_div``."""
    statement: str
    proof: str
    """Empty where there is none."""
    uses: tuple[int, ...]
    """Places of the declarations that the proof names, in order of first mention, each once."""
    file: str
    """The source file it is from; a file is of one split."""
    split: str
    """``train``, ``validation`` or ``test``."""


def training_texts(declarations: Iterable[Declaration]) -> list[str]:
    """Writes the training split as samples are, for a tokenizer to be trained on."""
    return [
        f"{declaration.statement}{SEPARATOR}{PROOF_SIGN}{declaration.proof}{SEPARATOR}"
        for declaration in declarations
        if declaration.split == "train"
    ]
