"""Readings that widths of a dead band are chosen from: one line each, of training text.

By changes of the memory, measured without a dead band, or by accuracy: a line for each width and
length, the same stories for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rmtscale.records.environment import Environment
from rmtscale.records.store import Store
from rmtscale.study.records.chosen_width import Chosen, choose_width
from rmtscale.study.records.line import EvaluatedLine, EvaluatedPoint

SCHEMA_VERSION = 1
WIDTHS_FILE = "widths.jsonl"
"""Name of these records in the folder of a report."""
CHANGES, ACCURACY = WAYS = "changes", "accuracy"
"""Ways in which ``rmtscale dead-band`` chooses."""
BORROWED = "borrowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthPoint(EvaluatedPoint):
    """Names what was read."""

    by: str
    """One of ``WAYS``."""
    task: str
    task_options: dict[str, object] = field(default_factory=dict)
    weights: str
    """The first 16 digits of the SHA-256 of the checkpoint's weights."""
    background: str
    """Name of the noise's source, without its folder."""
    split: str = "train"
    segments: int
    segment_tokens: int
    samples: int
    batch_size: int
    """Stories of a batch; with another number they are others."""
    seed: int
    precision: str
    device: str = ""
    """``cpu`` or ``cuda``; empty where it was not noted."""
    dead_band: float = 0.0
    """Width that it was read with; 0 is the paper's RMT, and where changes are measured."""
    compile_step: bool = False
    merged_lora: bool = False
    """LoRA was merged into the weights, which changes rounding."""

    @property
    def choice(self) -> str:
        """Equal for readings that one width is chosen from: of all widths and lengths."""
        return replace(self, segments=0, dead_band=0.0).key


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Absolute changes of single numbers of the memory, each over one segment."""

    numbers: int
    quantiles: tuple[float, ...]
    """The median, the 90th, 99th and 99.9th percentile, and the largest."""
    share_over: float | None
    """Share that is at least the dead band; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChanges:
    """Holds what was measured, and the dead band that follows from it."""

    settled: Changes
    """Changes in segments of noise, the memory settled after a fact."""
    fact: Changes
    """Changes in segments that hold a fact."""
    dead_band: float | None
    """None where no width keeps noise out and lets facts in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthRecord(EvaluatedLine):
    """One line of a file of readings."""

    schema_version: int = SCHEMA_VERSION
    read_at: str = ""
    """UTC, ISO 8601; empty where it was not noted."""
    point: WidthPoint
    changes: MemoryChanges | None = None
    """Changes of the memory, where they were measured; None by accuracy."""
    right: str | None = None
    """A 1 for each story with a right answer and a 0 for any other, in their order; by changes
    None."""
    seconds: float | None = None
    """Time of reading with all widths that were read at once, making the text included."""
    environment: Environment | None = None
    """None where it was not noted."""


class WidthStore(Store[WidthRecord]):
    """One file of readings."""

    kind, version = WidthRecord, SCHEMA_VERSION


def chosen_by_accuracy(records: Iterable[WidthRecord]) -> Chosen:
    """Chooses a width from the readings of one choice, see ``choose_width``."""
    right: dict[float, dict[int, str]] = {}
    for record in records:
        assert record.right is not None, "a reading by accuracy"
        right.setdefault(record.point.dead_band, {})[record.point.segments] = record.right
    return choose_width(right)


class ChosenWidths:
    """Says of a width how it was chosen.

    Args:
        records: readings, the last ones last.
    """

    def __init__(self, records: Sequence[WidthRecord] = ()) -> None:
        self._found: dict[tuple[str, float], set[str]] = {}
        """Ways by weights and width."""
        choices: dict[str, list[WidthRecord]] = {}
        for record in records:
            choices.setdefault(record.point.choice, []).append(record)
        for own in choices.values():
            point, changes = own[-1].point, own[-1].changes
            width = chosen_by_accuracy(own).width if changes is None else changes.dead_band
            if width:
                self._found.setdefault((point.weights, width), set()).add(point.by)

    def how(self, weights: str, dead_band: float) -> str:
        """Returns ``by changes``, ``by accuracy``, ``by changes and accuracy``, or ``borrowed``.

        Borrowed is what no reading of these weights has chosen.

        Args:
            weights: digest.
            dead_band: above 0.
        """
        ways = self._found.get((weights, dead_band), set())
        return f"by {' and '.join(way for way in WAYS if way in ways)}" if ways else BORROWED
