"""One evaluated length of one task of BABILong: what was asked, what was right, what it took."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rmtscale.records.environment import Environment
from rmtscale.records.measurement import Memory
from rmtscale.records.store import Store
from rmtscale.study.records.breakdown import Breakdown
from rmtscale.study.records.line import EvaluatedLine, EvaluatedPoint

SCHEMA_VERSION = 1
NOTED_LATER = (
    "between_share",
    "ask_state",
    "initializer_range",
    "closing_questions",
    "memory_noise",
    "late_facts",
    "burn_in_dead_band",
    "lora_rank",
    "seconds",
    "trained_with",
)
"""Fields of a training that older records lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BabilongPoint(EvaluatedPoint):
    """Names what was evaluated; an equal point of the same weights is an equal number."""

    stories: str
    """Task whose original test stories were read: ``qa1`` to ``qa5``."""
    length: str
    """Name of the length, such as ``128k``."""
    answers: str
    """``classes``: the likeliest of all answers there are; ``generate``: free text, scored by the
    benchmark's rule."""
    model: str
    """``rmt``, or ``decoder``: a Hugging Face decoder that reads everything at once."""
    weights: str
    """The first 16 digits of the SHA-256 of the weights."""
    background: str
    """Name of the noise's source, without its folder."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BabilongTraining:
    """Says how the evaluated weights came about, as far as ablations differ in it."""

    stories: str
    """Tasks it was trained on."""
    backbone: str
    steps: int
    """Steps that the weights have seen, those of the checkpoint that they began with among them."""
    stage: str
    seed: int
    segments: int
    """Segments of the longest stage with a gradient."""
    segment_tokens: int
    """Text tokens of a full segment."""
    memory_tokens: int
    sink_tokens: int = 0
    """Memory tokens that keep their initial value; 0 is the paper's RMT."""
    burn_in: tuple[int, ...]
    fact_fragments: float
    replay_lost: bool
    parameters: int
    between_share: float | None = None
    """Share of the batches with questions among the facts; None in records of before it was
    noted, and so with all that follow."""
    ask_state: bool | None = None
    initializer_range: float | None = None
    closing_questions: int | None = None
    memory_noise: float | None = None
    late_facts: int | None = None
    """Most of the last facts that stood where there is a gradient, in batches with a burn-in."""
    burn_in_dead_band: float | None = None
    """Dead band with which burn-ins were read."""
    lora_rank: int | None = None
    """Rank of LoRA in a frozen backbone; 0 where all weights were trained."""
    seconds: float | None = None
    """Time spent in these steps; None too where the training began with the weights of another,
    whose time is not noted."""
    trained_with: tuple[dict[str, object], ...] | None = None
    """Settings away from their defaults that change what is learned, of each training that the
    weights went through, the last one last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BabilongRecord(EvaluatedLine):
    """One line of a file of evaluations on BABILong."""

    schema_version: int = SCHEMA_VERSION
    evaluated_at: str
    """UTC, ISO 8601."""
    point: BabilongPoint
    training: BabilongTraining | None = None
    """None for a model that was not trained here."""
    words: int
    """Words of a sample, by which its length is set; 0 for stories alone."""
    tokens: int
    """Tokens of a sample in the model's own vocabulary; the longest, for stories alone."""
    noise_tokens: int
    """Tokens of all the noise there is: a longer sample holds some of it again."""
    left_out: int
    """Test questions whose story alone is longer than a sample."""
    correct: int
    accuracy: float
    low: float
    high: float
    """A 95 % Wilson interval."""
    unanswered: int = 0
    """Generated answers without exactly one label."""
    breakdown: Breakdown | None = None
    """Right answers by where their facts stood; None in records of before it was noted."""
    right: str | None = None
    """A 1 for each sample with a right answer and a 0 for any other, in the order in which samples
    are chosen, so that two models are compared sample by sample: those of a smaller reading are the
    first of a larger one's. None in records of before it was noted."""
    batch_size: int
    """Samples that are read side by side."""
    seconds: float
    """Time of making and reading all samples."""
    seconds_per_sample: float
    """That time by the samples, those that fill the last batch among them: of several read side by
    side each has its share, and one alone takes longer."""
    tokens_per_second: float
    memory: Memory
    """Peak of reading, measured at this length."""
    evaluation_began_at: str | None = None
    """Equal for all lengths that one command has read, UTC, ISO 8601; None in records of before it
    was noted."""
    environment: Environment

    def __post_init__(self) -> None:
        if self.right is not None and (
            set(self.right) - {"0", "1"} or self.right.count("1") != self.correct
        ):
            raise ValueError(
                f"right: expected a 0 or a 1 for each sample, {self.correct} of them 1"
            )

    @property
    def exact_accuracy(self) -> Fraction:
        """Share of right answers among the samples that were read, which are fewer than were asked
        for where that many stories do not fit."""
        return Fraction(self.accuracy).limit_denominator(self.point.samples)

    @property
    def sink_tokens(self) -> int:
        """Memory tokens of the model that keep their initial value."""
        return 0 if self.training is None else self.training.sink_tokens

    def to_mapping(self) -> dict[str, Any]:
        """Returns what is written, without what was not noted."""
        mapping = EvaluatedLine.to_mapping(self)
        for name in ("breakdown", "right", "evaluation_began_at"):
            if mapping[name] is None:
                del mapping[name]
        for name in NOTED_LATER:
            if mapping["training"] is not None and mapping["training"][name] is None:
                del mapping["training"][name]
        return mapping


class BabilongStore(Store[BabilongRecord]):
    """One file of evaluations on BABILong."""

    kind, version = BabilongRecord, SCHEMA_VERSION
