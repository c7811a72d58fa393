"""Names of the five bAbI tasks that BABILong reads, and lists of them."""

from __future__ import annotations

from rmtscale.errors import BadInput, quoted_list

QAS = ("qa1", "qa2", "qa3", "qa4", "qa5")
STATEFUL = ("qa2", "qa3")
"""Tasks whose answers are put together from more than one entry of the state: who holds what, and
where each is. Of the others every question asks for one entry."""


def parse_stories(text: object) -> tuple[str, ...]:
    """Parses ``qa1,qa2``.

    Raises:
        BadInput: not a list of tasks, or one twice.
    """
    names = [name.strip() for name in text.split(",")] if isinstance(text, str) else []
    if not names or not set(names) <= set(QAS) or len(set(names)) != len(names):
        raise BadInput(f"stories {text!r}: expected a list of {quoted_list(QAS)} such as qa1,qa2")
    return tuple(names)
