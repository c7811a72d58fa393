"""Settings of a training: everything it depends on, each default with its reason."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from rmtscale.errors import BadInput
from rmtscale.records.mapping import to_mapping
from rmtscale.units import require_one_of, require_positive

SCHEMA_VERSION = 1
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """What a training of any task depends on."""

    schema_version: int = SCHEMA_VERSION
    task: str
    backbone: str
    segment_size: int
    memory_tokens: int
    segments: int = 7
    """Of the longest stage, all of them with a gradient; the paper's."""
    curriculum: bool = True
    """False begins with all segments at once (the paper's Figure 11)."""
    keep_stages: bool = True
    """A checkpoint at the end of each stage of whole segments."""

    steps: int = 20_000
    batch_size: int = 64
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    stage_factor: float = 0.85
    """Of the learning rate, for each segment more: at a constant rate a model that was perfect at
    six segments fell apart at seven."""
    final_decay_share: float = 0.3
    """Of all steps: the learning rate falls to 0 on a line."""
    weight_decay: float = 0.01
    beta2: float = 0.98
    """Below the usual 0.999, because gradients change with every stage."""
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    """Of the averaged weights, which are what is evaluated and kept."""
    precision: str = "bf16"
    seed: int = 0

    checkpoint_segments: bool = False
    """One activation checkpoint per segment: less memory, a third more time."""
    compile_step: bool = False
    """Compile the step of a full segment; the first steps take a minute longer."""
    cuda_graph: bool = True
    """On a GPU: capture a decoder's forward and backward pass once for each length, and replay it.
    Without, Python launches the kernels of a small model slower than they run."""
    log_every: int = 50
    """Steps of an interval. Losses are added up on the device and read once per interval; stages
    change and states are kept only between two."""
    validate_every: int = 500
    """Steps between validations, a multiple of ``log_every``."""
    validation_samples: int = 256
    validation_segments: tuple[int, ...] = (7, 64)
    """Lengths of a validation in the last stages; before, the stage's own length."""
    init_from: str | None = None
    """A checkpoint to begin with, of the same vocabulary."""

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise BadInput(
                f"settings of version {self.schema_version!r}: expected {SCHEMA_VERSION}"
            )
        for name in (
            "segment_size",
            "segments",
            "steps",
            "batch_size",
            "log_every",
            "validate_every",
            "validation_samples",
        ):
            require_positive(name.replace("_", " "), getattr(self, name))
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        if self.warmup_steps < 0:
            raise BadInput(f"warmup steps {self.warmup_steps}: expected 0 or more")
        if not 0 <= self.beta2 < 1:
            raise BadInput(f"beta2 {self.beta2!r}: expected 0 or more, below 1")
        for value in self.validation_segments:
            require_positive("validation segments", value)
        _require_share("final_decay_share", self.final_decay_share)
        if not 0 <= self.ema_decay < 1:
            raise BadInput(f"ema decay {self.ema_decay!r}: expected 0 or more, below 1")
        for name in ("learning_rate", "clip_norm", "stage_factor"):
            if not getattr(self, name) > 0:
                raise BadInput(
                    f"{name.replace('_', ' ')} {getattr(self, name)!r}: expected more than 0"
                )
        if self.validate_every % self.log_every:
            raise BadInput(
                f"validate every {self.validate_every}: expected a multiple of "
                f"{self.log_every}, the steps of an interval"
            )
        require_one_of("precision", self.precision, PRECISIONS)

    def to_json(self) -> str:
        """Written beside the checkpoints, and held against when a training goes on."""
        return json.dumps(to_mapping(self), indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings(LoopSettings):
    """One training of a memory task. Two with the same settings have the same losses."""

    task: str = "memorize"
    task_options: dict[str, object] = field(default_factory=dict)
    """As ``make_task`` takes them: persons, distractors, where facts stand."""
    background: str = "python"
    """Source of the noise; this one needs no download."""
    noise_repeats: bool = True
    """Whether an input may hold the same noise twice; without, it must not be longer than the text
    there is."""
    decoys: float = 0.0
    """Pieces of facts in the noise of a training, per token: "to the kitchen", "John went to the".
    Without, what could be taken for a fact is too rare to learn from."""
    vocabulary_words: int = 2000
    """Words with an id of their own; the rest of the noise is one unknown word. Small, because at
    width 192 a row more is as dear as in a large model and no task needs the words of the noise."""

    backbone: str = "gpt-neox-small"
    """Rotary and causal: learned positions with a [CLS] read-out do not learn reasoning from
    random initialisation."""
    segment_size: int = 512
    """The paper's."""
    memory_tokens: int = 4
    """The paper has 10; from random initialisation fewer are steadier, and a decoder holds them
    twice: 4 leave 504 tokens of text, more than the paper's 499."""

    start_tokens: tuple[int, ...] = (26, 40, 64, 128, 256)
    """Text tokens of the stages inside one segment: nothing is learned from a full segment of
    noise that is not learned faster from almost none."""
    contrast_first: bool = True
    """Reasoning: the first stage has only stories whose two facts are about the same place, asked
    in the form that repeats one of them: nothing but the direction tells them apart. Among all
    stories a model guesses at these, and stays at 87.5 % for thousands of steps."""
    threshold: float = 0.985
    """Accuracy on the newest stage, over one interval, that ends it."""
    stage_min_steps: int = 100
    """A stage lasts at least this long, so that averaged weights have seen it."""
    stage_max_steps: int = 5000
    """And at most this long, learned or not."""
    newest_share: float = 0.7
    """Of the batches; the others are of an earlier stage, so that short inputs are not forgotten.
    1 is the paper's fixed length per stage."""
    roll_in: tuple[int, ...] = (16, 64, 256)
    """Stages after the last: up to so many segments run before, without a gradient. Training on 7
    segments teaches to keep a fact for 7; this teaches to keep it."""
    roll_in_max_steps: int = 1200
    """Each of these stages lasts at most this long; then the next, longer ones come anyway."""
    replay_lost: bool = False
    """Begin the gradient of a rolled-in sample with the segment that lost its answer, where one
    did: what is already lost teaches nothing, and what loses it is rarely in the last segments."""
    roll_in_share: float = 0.5
    """Of the batches of these stages."""

    short_batch: int = 4
    """Times as large as that are batches of inputs inside one segment, as far as they hold no more
    text than a batch of whole segments: they leave a GPU idle, and gradients are less noisy."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        for name in ("vocabulary_words", "short_batch", "stage_max_steps", "roll_in_max_steps"):
            require_positive(name.replace("_", " "), getattr(self, name))
        for name in ("start_tokens", "roll_in"):
            for value in getattr(self, name):
                require_positive(name.replace("_", " "), value)
        for name in ("threshold", "newest_share", "roll_in_share", "decoys"):
            _require_share(name, getattr(self, name))

    def batch_size_of(self, tokens: int, segment_tokens: int) -> int:
        """Samples in a batch of inputs of ``tokens``."""
        return self.batch_size * max(1, min(self.short_batch, segment_tokens // tokens))


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadInput(f"{name.replace('_', ' ')} {value!r}: expected 0 to 1")
