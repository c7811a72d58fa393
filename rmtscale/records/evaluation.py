"""One evaluated length of one checkpoint: what was asked, how much was right, what it took."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.records.environment import Environment
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.records.measurement import Memory
from rmtscale.records.store import append_line, read_lines

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPoint:
    """What was evaluated; the same point of the same weights is the same number."""

    task: str
    task_options: dict[str, object] = field(default_factory=dict)
    """As it was drawn: placement of the facts, persons, distractors."""
    weights: str
    """The first 16 digits of the SHA-256 of the checkpoint's weights."""
    background: str
    """Name of the noise's source, without its folder."""
    split: str = "validation"
    segments: int
    segment_tokens: int
    """Text tokens of a full segment."""
    samples: int
    seed: int
    precision: str
    device: str

    @property
    def tokens(self) -> int:
        """Text tokens of a sample."""
        return self.segments * self.segment_tokens

    @property
    def key(self) -> str:
        """The same for the same point."""
        return json.dumps(to_mapping(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One line of a file of evaluations."""

    schema_version: int = SCHEMA_VERSION
    evaluated_at: str
    """UTC, ISO 8601."""
    point: EvaluationPoint
    trained_segments: int
    """Of the longest stage with a gradient."""
    trained_stage: str
    trained_curriculum: bool
    trained_steps: int
    trained_seed: int
    correct: int
    accuracy: float
    low: float
    high: float
    """A 95 % Wilson interval."""
    batch_size: int
    seconds: float
    """Of reading all samples; making them is not in it."""
    tokens_per_second: float
    memory: Memory
    """Peak of reading, measured at this length."""
    host_ids_bytes: int
    """Token ids of the largest batch, in host memory: the one thing that grows with the length."""
    environment: Environment

    def to_line(self) -> str:
        """One line of JSON, without its end."""
        return json.dumps(to_mapping(self), separators=(",", ":"), allow_nan=False)


def parse_evaluation(line: str) -> EvaluationRecord:
    """The record of one line.

    Raises:
        BadInput: a record of another schema version.
        Misfit: damaged: no JSON, or not a record.
    """
    try:
        mapping: Any = json.loads(line)
    except ValueError as error:
        raise Misfit("not JSON") from error
    if not isinstance(mapping, dict) or "schema_version" not in mapping:
        raise Misfit("not a record")
    if mapping["schema_version"] != SCHEMA_VERSION:
        raise BadInput(f"schema version {mapping['schema_version']!r}: expected {SCHEMA_VERSION}")
    return from_mapping(EvaluationRecord, mapping)


class EvaluationStore:
    """One file of evaluations; any number of processes may append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[EvaluationRecord, ...]:
        """All records, in the order they were written; damaged lines are left out.

        Raises:
            BadInput: cannot be opened, or of another schema version.
        """
        return read_lines(self.path, parse_evaluation)[0]

    def latest(self) -> dict[str, EvaluationRecord]:
        """By key; a later record takes the place of an earlier one."""
        return {record.point.key: record for record in self.read()}

    def append(self, record: EvaluationRecord) -> None:
        """Adds one line, on the disk when this returns."""
        append_line(self.path, record.to_line())


def by_segments(
    records: tuple[EvaluationRecord, ...], wanted: Callable[[EvaluationRecord], bool]
) -> dict[int, EvaluationRecord]:
    """The newest record of each length among those that are wanted, shortest first."""
    found = {record.point.segments: record for record in records if wanted(record)}
    return dict(sorted(found.items()))
