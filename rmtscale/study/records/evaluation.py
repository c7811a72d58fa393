"""One evaluated length of one checkpoint: what was asked, how much was right, what it took."""

from __future__ import annotations

from dataclasses import dataclass, field

from rmtscale.records.environment import Environment
from rmtscale.records.measurement import Memory
from rmtscale.records.store import Store
from rmtscale.study.records.line import EvaluatedLine, EvaluatedPoint
from rmtscale.study.records.probe import Probe

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPoint(EvaluatedPoint):
    """Names what was evaluated; an equal point of the same weights is an equal number."""

    task: str
    task_options: dict[str, object] = field(default_factory=dict)
    """Options it was drawn with: placement of the facts, persons, distractors."""
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
    dead_band: float = 0.0
    """Dead band of the memory; 0 is the paper's RMT."""
    compile_step: bool | None = None
    """Full segments were compiled, which changes speed, memory and rounding. None in records of
    before it was noted: compiled where the training was, on a GPU."""
    merged_lora: bool = False
    """LoRA was merged into the weights, which changes speed and rounding."""

    @property
    def tokens(self) -> int:
        """Text tokens of a sample."""
        return self.segments * self.segment_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedBackbone:
    """Says which backbone a checkpoint has, and how much of it was trained."""

    name: str
    """A small one of rmtscale's own, or the folder of pretrained weights without its path."""
    kind: str
    """``encoder`` or ``decoder``."""
    pretrained: bool
    """False: from random initialisation."""
    lora_rank: int | None
    """Rank of LoRA in a frozen backbone; None: all weights were trained."""
    segment_size: int
    """Positions of a segment: text, memory and special tokens."""
    memory_tokens: int
    sink_tokens: int = 0
    """Memory tokens that keep their initial value; 0 is the paper's RMT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(EvaluatedLine):
    """One line of a file of evaluations."""

    schema_version: int = SCHEMA_VERSION
    evaluated_at: str
    """UTC, ISO 8601."""
    point: EvaluationPoint
    trained_segments: int
    """Segments of the longest stage with a gradient."""
    trained_stage: str
    trained_curriculum: bool
    trained_steps: int
    """Steps that the weights have seen, those of the checkpoint that they began with among them."""
    trained_seed: int
    trained_from: str = ""
    """Digest, as of ``point.weights``, of the weights that the training began with; empty where it
    began with none, and in a record that was written before it was noted."""
    trained_backbone: TrainedBackbone | None = None
    """None in a record that was written before it was noted."""
    trained_with: tuple[dict[str, object], ...] | None = None
    """Settings away from their defaults that change what is learned, of each training that the
    weights went through, the last one last; None in a record of before they were noted."""
    correct: int
    accuracy: float
    low: float
    high: float
    """A 95 % Wilson interval."""
    batch_size: int
    seconds: float
    """Time of reading all samples; making them is not in it."""
    tokens_per_second: float
    processes: int = 1
    """Processes that shared the samples: seconds are the longest of any, the speed is that of all
    together, the memory that of the first."""
    memory: Memory
    """Peak of reading, measured at this length."""
    host_ids_bytes: int
    """Token ids of the largest batch, in host memory: the one thing that grows with the length."""
    environment: Environment
    probe: Probe | None = None
    """Early answers of this length, of ``evaluate --probe``; None where it was not asked for. Where
    the length had no record before, seconds and memory are those of asking early as well."""

    @property
    def sink_tokens(self) -> int:
        """Memory tokens of the model that keep their initial value."""
        return 0 if self.trained_backbone is None else self.trained_backbone.sink_tokens


class EvaluationStore(Store[EvaluationRecord]):
    """One file of evaluations."""

    kind, version = EvaluationRecord, SCHEMA_VERSION
