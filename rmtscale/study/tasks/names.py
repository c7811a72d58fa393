"""Identifiers in the text of a proof, and which of them name a lemma.

An identifier is a longest run of letters (of any script), digits, subscripts, ``_``, ``'`` and
dots between them; the letters that Lean reads as operators (``λ Π Σ``) are none. It names a lemma
when it is the lemma's full name or a dotted end of it: ``nat.succ_div`` is named by
``nat.succ_div`` and by ``succ_div``, not by ``div``. What is asked of a lemma after its name is no
part of it (``iff_self.mpr``, ``add_comm.symm``), and neither is ``_root_.``, ``self.`` or ``cls.``
before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PART = r"(?:[^\W\u03bb\u03a0\u03a3]|')+"
_IDENTIFIER = re.compile(rf"{_PART}(?:\.{_PART})*")
_BEFORE = ("_root_", "self", "cls")


def own_name(name: str) -> str:
    """Returns a name without its namespaces: ``succ_div`` of ``nat.succ_div``."""
    return name.rpartition(".")[2]


def name_parts(text: str) -> frozenset[str]:
    """Everything that stands between dots, or alone, in the identifiers of a text.

    A lemma whose own name is not among them is not named in the text.
    """
    return frozenset(
        part for identifier in _IDENTIFIER.findall(text) for part in identifier.split(".")
    )


def named_spans(text: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """Finds where a text names one of some lemmas: first character and the one after the last.

    Args:
        text: a proof.
        names: full names.
    """
    known = {end for name in names for end in _ends(name)}
    spans = []
    for match in _IDENTIFIER.finditer(text):
        parts = match[0].split(".")
        start = match.start()
        if parts[0] in _BEFORE:
            start += len(parts.pop(0)) + 1
        for count in range(len(parts), 0, -1):
            written = ".".join(parts[:count])
            if written in known:
                spans.append((start, start + len(written)))
                break
    return spans


def _ends(name: str) -> list[str]:
    """``a.b.c``, ``b.c`` and ``c``."""
    parts = name.split(".")
    return [".".join(parts[first:]) for first in range(len(parts))]
