"""LanguageSettings: everything a training on text depends on, each default with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_RANK, MOST_TOKEN_ID
from rmtscale.study.records.language import (
    ADAPTERS,
    ADAPTERS_AND_LORA,
    ALL_WEIGHTS,
    LORA,
    MEMORY,
    UNTOUCHED,
)
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.settings import LoopSettings, require_share
from rmtscale.units import require_one_of, require_positive

LANGUAGE_MODELING = "language-modeling"
LEMMA_PROOF = "lemma-proof"
LANGUAGE_TASKS = (LANGUAGE_MODELING, LEMMA_PROOF)
_KEPT = 2.0**-25
"""Half of the least number above 0 in half precision: AdamW moves a weight by about its rate in a
step, so that LoRA, whose product begins at 0, is still 0 in a checkpoint below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSettings(LoopSettings):
    """Holds a training on text. Two with the same settings have the same losses.

    A sample of n segments is ``n * segment tokens`` of text that end with the target block; what
    is scored are the last ``block_tokens``. So a model without memory and with a larger segment
    is the baseline that sees the true context before the block, and scores the same tokens.
    """

    task: str = LANGUAGE_MODELING
    task_options: dict[str, object] = field(default_factory=dict)
    """Lemma-proof: order of the parts, which lemmas."""
    text: str = "python"
    """Source of the documents (or of declarations); this one needs no download."""
    tokenizer: str | None = None
    """A committed one by name, a file, a folder or a name on the hub; None trains one on the
    training split."""
    vocabulary_size: int = 4096
    """Ids of a tokenizer that is trained: at small widths a larger one is mostly embedding."""

    backbone: str = "gpt-neox-text"
    segment_size: int = 128
    """The paper's small input size: 124 tokens of text and 2 memory tokens, read and written."""
    memory_tokens: int = 2
    """The paper's. 0 is the baseline."""
    block_tokens: int | None = None
    """Tokens scored in each sample; None is the text of one segment (lemma-proof: all)."""
    history_tokens: int | None = None
    """Targets have at least so many tokens of their document before them, whether the model reads
    them or not: two trainings with the same number and seed score the very same targets in the
    same order. None is what the longest stage reads."""

    start_segments: int = 1
    """Segments of the first stage of the curriculum."""
    mixing: bool = True
    """Draw the number of segments of each batch from those of all stages so far; False is always
    the stage's own (the paper's two curricula, Figure 12)."""
    stage_steps: int = 200
    """Steps of each stage but the last, which has the rest."""
    repeat_share: float = 0.0
    """Share of the batches of two segments and more whose last segment repeats what the one before
    read, so that only memory can tell it; 0 is ordinary text alone."""
    repeat_until: float = 1.0
    """Share of all steps until which so many repeat; from there on fewer do, on a line to none
    after the last step, so that the end is trained on ordinary text."""

    adapter_width: int | None = None
    """A parallel adapter beside every feed-forward block; the backbone is frozen."""
    memory_only: bool = False
    """Train the initial memory alone, the backbone frozen: what memory is worth to a model that
    never learned to read it."""

    learning_rate: float = 1e-3
    """Small models from random initialisation take a larger one than the paper's 5e-5."""
    stage_factor: float = 1.0
    batch_size: int = 64
    validation_samples: int = 256
    validation_segments: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        require_one_of("task", self.task, LANGUAGE_TASKS)
        for name in ("vocabulary_size", "stage_steps", "start_segments"):
            require_positive(name.replace("_", " "), getattr(self, name), MOST_TOKEN_ID)
        for name in ("block_tokens", "adapter_width"):
            value = getattr(self, name)
            if value is not None:
                most = MOST_RANK if name == "adapter_width" else MOST_TOKEN_ID
                require_positive(name.replace("_", " "), value, most)
        for name in ("block_tokens", "history_tokens"):
            value = getattr(self, name)
            if value is not None and self.task == LEMMA_PROOF:
                words = name.replace("_", " ")
                raise BadInput(f"{words} {value} with {LEMMA_PROOF}: expected none, all is scored")
        if self.history_tokens is not None and self.history_tokens < 0:
            raise BadInput(f"history tokens {self.history_tokens}: expected 0 or more")
        if self.memory_tokens < 0 or self.segment_tokens < 1:
            most = (self.segment_size - 1) // 2
            raise BadInput(
                f"memory tokens {self.memory_tokens}: expected 0 to {most}, in a segment size of "
                f"{self.segment_size}"
            )
        if self.memory_only and (not self.memory_tokens or self.lora_rank or self.adapter_width):
            raise BadInput(
                f"memory only with {self.memory_tokens} memory tokens, LoRA rank {self.lora_rank}, "
                f"adapter width {self.adapter_width}: expected memory, and neither of the others"
            )
        self._require_repeats()
        if self.start_segments > self.segments:
            raise BadInput(
                f"start segments {self.start_segments}: expected {self.segments} or less, the "
                "segments of the longest stage"
            )
        earlier = (self.segments - self.start_segments) * self.curriculum
        if earlier * self.stage_steps >= self.steps:
            raise BadInput(
                f"stage steps {self.stage_steps} of {earlier} earlier stages: expected them to "
                f"leave some of {self.steps} steps to the last"
            )
        if self.block_tokens is not None and self.block_tokens > self.segment_tokens:
            raise BadInput(
                f"block tokens {self.block_tokens}: expected {self.segment_tokens} or less, the "
                "text of one segment"
            )

    def _require_repeats(self) -> None:
        """Refuses repetition that no memory could tell, or an end of it where there is none."""
        require_share("repeat_share", self.repeat_share)
        require_share("repeat_until", self.repeat_until)
        if not self.repeat_share and self.repeat_until != 1:
            raise BadInput(
                f"repeat until {self.repeat_until!r} with a repeat share of 0: expected 1, or a "
                "repeat share above 0"
            )
        if not self.repeat_share:
            return
        share = f"repeat share {self.repeat_share!r}"
        if self.task == LEMMA_PROOF:
            raise BadInput(f"{share} with {LEMMA_PROOF}: expected 0, what is scored is all of it")
        if not self.memory_tokens:
            raise BadInput(f"{share} without memory: expected 0, nothing could tell what repeats")
        if self.segments < 2:
            raise BadInput(f"{share} of 1 segment: expected 2 segments or more, or 0")

    @property
    def segment_tokens(self) -> int:
        """Text tokens of a full segment: read and write memory take the rest."""
        return self.segment_size - 2 * self.memory_tokens

    @property
    def scored_tokens(self) -> int:
        """Tokens scored at the end of each sample of language modelling."""
        return self.block_tokens or self.segment_tokens

    def scored_tokens_of(self, segments: int) -> int:
        """Counts the tokens scored in so many segments: the block, or all of a lemma-proof."""
        if self.task == LEMMA_PROOF:
            return segments * self.segment_tokens
        return self.scored_tokens

    @property
    def least_history_tokens(self) -> int:
        """Tokens that every target has before it in its document."""
        if self.history_tokens is not None:
            return self.history_tokens
        return self.segments * self.segment_tokens - self.scored_tokens

    @property
    def adapted(self) -> bool:
        """Only what was added to the backbone is trained."""
        return self.memory_only or self.lora_rank is not None or self.adapter_width is not None

    @property
    def keeps_trained_part(self) -> bool:
        """A checkpoint keeps what was trained alone: beside a pretrained backbone, which is frozen
        and which whoever reads the checkpoint has."""
        return self.adapted and self.backbone not in SIZES and self.init_from is None

    @property
    def trained_weights(self) -> str:
        """Names what a training changes, one of ``TRAINED_WEIGHTS``."""
        if self.adapted and self.steps * self.learning_rate < _KEPT:
            return UNTOUCHED
        if self.memory_only:
            return MEMORY
        if self.adapter_width is not None:
            return ADAPTERS if self.lora_rank is None else ADAPTERS_AND_LORA
        return ALL_WEIGHTS if self.lora_rank is None else LORA
