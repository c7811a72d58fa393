"""The benchmark's rule for answers in free text (Kuratov et al. 2024).

Of the first sentence every label counts that is in it and not in the question; an answer is what is
left where that is exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable

_CUTS = (".", "<context>", "<example>")
"""Ends of the part of an output that counts."""


def answered(output: str, question: str, labels: Iterable[str]) -> str | None:
    """Returns the one label that a text answers with; None for no label, or for several.

    Args:
        output: what a model wrote.
        question: labels that it names are never the answer.
        labels: of the task.
    """
    text = output.lower()
    for cut in _CUTS:
        text = text.partition(cut)[0]
    asked = question.lower()
    found = [one for one in labels if one.lower() in text and one.lower() not in asked]
    return found[0] if len(found) == 1 else None
