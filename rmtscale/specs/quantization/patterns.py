"""Lists of module names in a quantisation: each library matches them in a way of its own."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

Names = tuple[str, ...]
Matcher = Callable[[Names], bool]
"""Whether a module is in a list, by any of its names."""

_LITERAL = re.compile(r"[\w.]+")
NOT_LINEAR = re.compile(
    r"norm|embed|vis|mtp|nextn|eh_proj|image|audio|projector|merge|rotary|conv|bias|gate$|router"
    r"|head|index|A_log|dt_|^re:|^\*|^Linear"
)
"""Names of what is no linear layer of a language model, or is kept anyway, and patterns that are
meant for more models than one."""


def none(names: Names) -> bool:
    """The empty list."""
    del names
    return False


def every(names: Names) -> bool:
    """The list of all modules."""
    del names
    return True


def transformers_list(patterns: Iterable[str]) -> Matcher:
    """Matches as Transformers' ``should_convert_module``: a prefix, an expression, an ending."""
    patterns = tuple(patterns)
    if not patterns:
        return none
    places = frozenset(item for item in patterns if _LITERAL.fullmatch(item))
    rest = [item for item in patterns if item not in places]
    expression = re.compile(rf"(?:{'|'.join(rest)})(?:(?<=\.)|(?=\.|$))") if rest else None

    def listed(names: Names) -> bool:
        return any(
            name.endswith(patterns)
            or not places.isdisjoint(_places(name))
            or (expression is not None and expression.match(name))
            for name in names
        )

    return listed


def wildcard_list(patterns: Iterable[str]) -> Matcher:
    """Matches as NVIDIA's modelopt: shell wildcards, or the name of a module that it is in."""
    patterns = tuple(patterns)
    if not patterns:
        return none
    places = frozenset(item for item in patterns if "*" not in item)
    wild = [fnmatch.translate(item) for item in patterns if "*" in item]
    expression = re.compile("|".join(wild)) if wild else None

    def listed(names: Names) -> bool:
        return any(
            not places.isdisjoint(_places(name))
            or (expression is not None and expression.match(name))
            for name in names
        )

    return listed


def compressed_list(patterns: Iterable[str]) -> Matcher:
    """Matches as compressed-tensors: a whole name, a class, or an expression after ``re:``."""
    patterns = tuple(patterns)
    whole = frozenset(item for item in patterns if not item.startswith("re:"))
    wild = [f"(?:{item.removeprefix('re:')})" for item in patterns if item.startswith("re:")]
    expression = re.compile("|".join(wild)) if wild else None

    def listed(names: Names) -> bool:
        return "Linear" in whole or any(
            name in whole or (expression is not None and expression.match(name)) for name in names
        )

    return listed


def substring_list(patterns: Iterable[str]) -> Matcher:
    """Matches as AutoAWQ: any part of a name."""
    patterns = tuple(patterns)
    return lambda names: any(item in name for name in names for item in patterns)


def _places(name: str) -> list[str]:
    """A name and those of the modules it is in."""
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def unknown(patterns: Iterable[str], match: Callable[[str], bool], layers: int) -> list[str]:
    """Patterns that name nothing of a model: not a linear layer, and nothing known beside.

    Of those that differ in numbers alone one is tried, of a layer that the model has.
    """
    shapes: dict[str, str] = {}
    for item in patterns:
        found = re.search(r"layers\.(\d+)", item)
        if not NOT_LINEAR.search(item) and not (found and int(found[1]) >= layers):
            shapes.setdefault(re.sub(r"\d+", "#", item), item)
    return [item for item in shapes.values() if not match(item)]
