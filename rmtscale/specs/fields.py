"""Typed reading of a Hugging Face config; messages name the model, the field and its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.limits import most_of


class ConfigFields:
    """Reads fields of one config and says which one is at fault."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.config, self.name = config, name

    def size(self, key: str, default: int | None = None) -> int:
        value = self.config.get(key)
        if value is None:
            if default is None:
                raise BadInput(f"model {self.name!r}: its config lacks {key!r}")
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(
                f"model {self.name!r}: {key} is {value!r}, expected a whole number of 1 or more"
            )
        require_sane(self.name, key, value)
        return value

    def rate(self, key: str, default: float = 0.0) -> float:
        value = self.config.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise BadInput(f"model {self.name!r}: {key} is {value!r}, expected 0 up to 1")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise BadInput(f"model {self.name!r}: {key} is {value!r}, expected true or false")
        return value

    def word(self, key: str, default: str) -> str:
        value = self.config.get(key, default)
        if not isinstance(value, str):
            raise BadInput(f"model {self.name!r}: {key} is {value!r}, expected a name")
        return value

    def refuse(self, key: str, value: object, why: str) -> None:
        if self.config.get(key, value) != value:
            raise BadInput(f"model {self.name!r}: {key} is {self.config[key]!r}, {why}")

    def head_width(self, width_key: str, heads_key: str) -> int:
        width, heads = self.size(width_key), self.size(heads_key)
        if width % heads:
            raise BadInput(
                f"model {self.name!r}: {width_key} is {width}, "
                f"expected a multiple of {heads_key} ({heads})"
            )
        return width // heads


def wrong_field(name: str, key: str, value: object, expected: str) -> BadInput:
    """Returns the refusal of a field, its value cut to what a line holds."""
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return BadInput(f"model {name!r}: {key} is {text}, expected {expected}")


def require_sane(name: str, key: str, value: int) -> None:
    """Raises ``BadInput`` for a size above what its name may have (``rmtscale.limits``)."""
    if value > most_of(key):
        raise BadInput(f"model {name!r}: {key} is {value}, expected {most_of(key):,} or less")
