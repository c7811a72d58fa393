"""One evaluated length of one language model: what was scored, its loss, what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rmtscale.records.environment import Environment
from rmtscale.records.measurement import Memory
from rmtscale.records.store import Store
from rmtscale.study.records.clusters import Part
from rmtscale.study.records.line import EvaluatedLine, EvaluatedPoint

SCHEMA_VERSION = 1
ALL = "all"
"""The part that every record has: all tokens that are scored."""
LAST_SEGMENT = "last-segment"
PROOF = "proof"
NAMES = "names"
NAMES_WITHOUT = "names-without"
"""Parts of a lemma-proof: tokens of lemma names in the proof, with their lemmas in the context and,
the same tokens, without."""
ALL_WEIGHTS, LORA, MEMORY, UNTOUCHED = "all weights", "LoRA", "memory only", "nothing"
ADAPTERS, ADAPTERS_AND_LORA = "adapters", "adapters and LoRA"
TRAINED_WEIGHTS = (ALL_WEIGHTS, LORA, ADAPTERS, ADAPTERS_AND_LORA, MEMORY, UNTOUCHED)
"""Weights that a training changes; memory is among them but for the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguagePoint(EvaluatedPoint):
    """Names what was evaluated; an equal point of the same weights is an equal loss."""

    task: str
    """``language-modeling`` or ``lemma-proof``."""
    options: dict[str, object] = field(default_factory=dict)
    """Options of the task."""
    weights: str
    """The first 16 digits of the SHA-256 of the checkpoint's weights."""
    text: str
    """Name of the source, without its folder."""
    text_digest: str = ""
    """The first 16 digits of the SHA-256 of what samples are made of: another text of the same
    name is another point."""
    split: str = "validation"
    segments: int
    segment_tokens: int
    """Text tokens of a full segment."""
    block_tokens: int
    """Tokens scored at the end of each sample; all of them where it is segments times segment
    tokens."""
    history_tokens: int = 0
    """Each target has at least so many tokens of its document before it, read or not: the same
    number gives the same targets."""
    samples: int
    """Targets read."""
    seed: int = 0
    precision: str
    device: str
    dead_band: float = 0.0
    """Dead band of the memory; 0 is the paper's RMT."""
    compile_step: bool | None = None
    """Whether full segments were compiled; None where it was not noted. Losses may round otherwise
    then."""

    @property
    def tokens(self) -> int:
        """Text tokens of a sample."""
        return self.segments * self.segment_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """Describes the model: its shape and how it was trained."""

    name: str
    """Name of the recipe or the folder."""
    backbone: str
    segment_size: int
    memory_tokens: int
    sink_tokens: int = 0
    """Memory tokens that keep their initial value; 0 is the paper's RMT."""
    parameters: int
    trainable_parameters: int
    trained_weights: str | None = None
    """One of ``TRAINED_WEIGHTS``; None in older records, which do not say."""
    trained_segments: int
    """Segments of the longest stage."""
    trained_start_segments: int | None = None
    """Segments of the first stage; None in older records, which do not say."""
    trained_mixing: bool
    trained_repeat_share: float = 0.0
    """Share of the training batches that repeat what was read; 0 is ordinary text alone."""
    trained_repeat_until: float = 1.0
    """Share of the training's steps until which so many repeat."""
    trained_steps: int
    trained_tokens: int
    """Text tokens read in training."""
    trained_flops: int | None
    """FLOPs of the training, by the estimator, ``matmul``."""
    trained_seconds: float
    trained_peak_bytes: int | None = None
    """Allocated on a GPU, of a training step; None on a CPU."""
    seed: int

    @property
    def changed(self) -> str:
        """Weights that the training changed; in older records its numbers of parameters tell."""
        if self.trained_weights is not None:
            return self.trained_weights
        return ALL_WEIGHTS if self.trainable_parameters == self.parameters else "what was added"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRecord(EvaluatedLine):
    """One line of a file of evaluations."""

    schema_version: int = SCHEMA_VERSION
    evaluated_at: str
    """UTC, ISO 8601."""
    point: LanguagePoint
    model: LanguageModel
    parts: dict[str, Part]
    """Losses by what was scored: ``all``, and of lemma-proof also ``last-segment``, ``proof``,
    ``names``, ``names-without`` (the same names, their lemmas not in the context)."""
    position_nats: tuple[float, ...]
    """Mean loss at each scored position of the block, first to last."""
    forward_flops: int
    """FLOPs of reading one sample: ``matmul``, with memory tokens, the head on scored tokens."""
    batch_size: int
    seconds: float
    """Time of reading all samples; making them is not in it."""
    tokens_per_second: float
    """Text tokens read."""
    processes: int = 1
    """Processes that shared the samples: seconds are the longest of any, the speed is that of all
    together, the memory that of the first."""
    memory: Memory
    environment: Environment

    def __post_init__(self) -> None:
        if ALL not in self.parts:
            raise ValueError(f"parts {sorted(self.parts)}: expected {ALL!r} among them")

    def to_mapping(self) -> dict[str, Any]:
        """Returns what is written; what was not noted of the training is left out too, and so is
        repetition where nothing repeats."""
        mapping = EvaluatedLine.to_mapping(self)
        for name in ("trained_weights", "trained_start_segments"):
            if mapping["model"][name] is None:
                del mapping["model"][name]
        if not self.model.trained_repeat_share:
            del mapping["model"]["trained_repeat_share"], mapping["model"]["trained_repeat_until"]
        return mapping

    @property
    def sink_tokens(self) -> int:
        """Memory tokens of the model that keep their initial value."""
        return self.model.sink_tokens

    @property
    def as_in_paper(self) -> bool:
        """Tells whether memory and training are the paper's: no sink, no repeated text."""
        return not (self.model.sink_tokens or self.model.trained_repeat_share)

    @property
    def whole(self) -> Part:
        """All tokens that were scored."""
        return self.parts[ALL]

    @property
    def position_bits_per_byte(self) -> tuple[float, ...]:
        """Loss at each scored position in bits per byte, at the mean length of a token.

        Bytes are known of documents, not of positions: the mean over positions is that of the
        whole, and two records of the same targets have the same factor at every position.
        """
        factor = self.whole.bits_per_byte / self.whole.mean_nats
        return tuple(loss * factor for loss in self.position_nats)

    @property
    def flops_per_token(self) -> float:
        """Forward FLOPs for each token scored."""
        return self.forward_flops / self.point.block_tokens

    @property
    def seconds_per_token(self) -> float:
        """Measured, for each token scored."""
        return self.seconds / (self.point.samples * self.point.block_tokens)


class LanguageStore(Store[LanguageRecord]):
    """One file of evaluations."""

    kind, version = LanguageRecord, SCHEMA_VERSION
