"""Settings of a training: everything it depends on, each default with its reason."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_RANK, MOST_SEGMENTS, MOST_TOKEN_ID
from rmtscale.records.mapping import to_mapping
from rmtscale.specs.recurrence import require_sink_tokens
from rmtscale.units import require_one_of, require_positive

SCHEMA_VERSION = 1
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Holds what a training of any task depends on."""

    schema_version: int = SCHEMA_VERSION
    task: str
    backbone: str
    segment_size: int
    memory_tokens: int
    sink_tokens: int = 0
    """The first memory tokens that keep their trained initial value in every segment, for attention
    that has nothing to look at; the others carry. 0 is the paper's RMT."""
    segments: int = 7
    """Segments of the longest stage, all with a gradient; the paper's number."""
    curriculum: bool = True
    """False begins with all segments at once (the paper's Figure 11)."""
    keep_stages: bool = True
    """A checkpoint at the end of each stage of whole segments."""

    steps: int = 20_000
    batch_size: int = 64
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    stage_factor: float = 0.85
    """Factor of the learning rate for each additional segment: at a constant rate a model that was
    perfect at six segments fell apart at seven."""
    final_decay_share: float = 0.3
    """Share of all steps in which the learning rate falls to 0 on a line."""
    weight_decay: float = 0.01
    beta2: float = 0.98
    """AdamW's second decay; below the usual 0.999, because gradients change with every stage."""
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    """EMA decay. The EMA weights are what is evaluated and exported."""
    precision: str = "bf16"
    seed: int = 0

    lora_rank: int | None = None
    """LoRA of this rank in a frozen backbone. A checkpoint of a pretrained one then keeps only what
    was trained, and names the weights it stands on."""
    checkpoint_segments: bool = False
    """One activation checkpoint per segment: less memory, a third more time."""
    compile_step: bool = False
    """Compile the step of a full segment; the first steps take a minute longer."""
    cuda_graph: bool = True
    """On a GPU: capture the forward and backward pass once for each length, and replay it.
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
    """A checkpoint to begin with, of the same vocabulary and as many memory tokens or fewer."""

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
            most = MOST_SEGMENTS if name == "segments" else MOST_TOKEN_ID
            require_positive(name.replace("_", " "), getattr(self, name), most)
        if self.lora_rank is not None:
            require_positive("lora rank", self.lora_rank, MOST_RANK)
        if self.memory_tokens > MOST_TOKEN_ID:
            raise BadInput(
                f"memory tokens {self.memory_tokens}: expected {MOST_TOKEN_ID:,} or less"
            )
        require_sink_tokens(self.sink_tokens, self.memory_tokens)
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        if self.warmup_steps < 0:
            raise BadInput(f"warmup steps {self.warmup_steps}: expected 0 or more")
        if not 0 <= self.beta2 < 1:
            raise BadInput(f"beta2 {self.beta2!r}: expected 0 or more, below 1")
        for value in self.validation_segments:
            require_positive("validation segments", value, MOST_SEGMENTS)
        require_share("final_decay_share", self.final_decay_share)
        if not 0 <= self.ema_decay < 1:
            raise BadInput(f"ema decay {self.ema_decay!r}: expected 0 or more, below 1")
        for name in ("learning_rate", "clip_norm", "stage_factor"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInput(
                    f"{name.replace('_', ' ')} {getattr(self, name)!r}: expected more than 0"
                )
        if self.validate_every % self.log_every:
            raise BadInput(
                f"validate every {self.validate_every}: expected a multiple of "
                f"{self.log_every}, the steps of an interval"
            )
        require_one_of("precision", self.precision, PRECISIONS)

    @property
    def own_last_steps(self) -> int | None:
        """Steps of the last stage, counted from its beginning; None: all that are left."""
        return None

    def to_json(self) -> str:
        """Written beside the checkpoints, and held against when a training goes on."""
        return json.dumps(to_mapping(self), indent=2) + "\n"


def require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadInput(f"{name.replace('_', ' ')} {value!r}: expected 0 to 1")
