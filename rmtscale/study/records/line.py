"""Common to records of all evaluations: a key, a row of a table, a line of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from rmtscale.records.mapping import to_mapping
from rmtscale.tabular import flat_row

_MODELS = ("model", "training", "trained_backbone")
"""Fields of records that describe the model."""


class EvaluatedPoint:
    """Base of what names an evaluation, a frozen dataclass."""

    __slots__ = ()

    @property
    def key(self) -> str:
        """Returns equal texts for equal points."""
        return json.dumps(to_mapping(self), sort_keys=True)


class EvaluatedLine:
    """Base of one line of a file of evaluations, a frozen dataclass."""

    __slots__ = ()

    point: Any
    """Names what was evaluated; a subclass says what it is."""

    @property
    def sink_tokens(self) -> int:
        """Memory tokens of the model that keep their initial value; 0 is the paper's RMT."""
        return 0

    @property
    def key(self) -> str:
        """Equal for two evaluations of the same point."""
        key: str = self.point.key
        return key

    def to_row(self) -> dict[str, object]:
        """Returns all fields, nested ones under ``outer.inner``."""
        return flat_row(to_mapping(self))

    def to_mapping(self) -> dict[str, Any]:
        """Returns what is written.

        A dead band of 0 and no sink tokens, the paper's RMT, are left out, and so are LoRA that is
        not merged, a number of processes of 1, backbone and settings that were not noted, a probe
        that was not asked for, whether it was compiled where that was not noted, the state of a GPU
        during a step, where nobody looked, and the weights that a training began with, where there
        are none or they were not noted: such a record is the same line that it was before there
        were these fields.
        """
        mapping: dict[str, Any] = to_mapping(self)
        if not mapping["point"]["dead_band"]:
            del mapping["point"]["dead_band"]
        if not mapping["point"].get("merged_lora", True):
            del mapping["point"]["merged_lora"]
        if mapping["point"].get("compile_step", "") is None:
            del mapping["point"]["compile_step"]
        for name in _MODELS:
            described = mapping.get(name) or {}
            if described.get("sink_tokens") == 0:
                del described["sink_tokens"]
        if mapping.get("processes") == 1:
            del mapping["processes"]
        for name in ("trained_backbone", "trained_with", "probe"):
            if mapping.get(name, "") is None:
                del mapping[name]
        if mapping.get("trained_from") == "":
            del mapping["trained_from"]
        environment = mapping["environment"] or {}
        if environment.get("during", "") is None:
            del environment["during"]
        return mapping

    def to_line(self) -> str:
        """Returns one line of JSON, without its end."""
        return json.dumps(self.to_mapping(), separators=(",", ":"), allow_nan=False)


L = TypeVar("L", bound=EvaluatedLine)


def recorded(known: Mapping[str, L], point: Any, asked: bool | None) -> L | None:
    """Finds the record of a point.

    Args:
        known: records by key.
        point: with a field ``compile_step``.
        asked: whether to compile was asked for. None takes a record of before that was noted too:
            it was made as one is made that nothing is asked of.
    """
    found = known.get(point.key)
    if found is None and asked is None:
        found = known.get(replace(point, compile_step=None).key)
    return found
