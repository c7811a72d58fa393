"""A workload: how much text, in which mode, kept and computed how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rmtscale.errors import BadInput
from rmtscale.units import require_one_of, require_positive

Mode = Literal["forward", "train"]
Method = Literal["full", "rmt"]
MODES = ("forward", "train")
METHODS = ("full", "rmt")
DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
ATTENTIONS = ("eager", "sdpa")
LOGITS = ("all", "last")
OPTIMIZERS = ("adamw", "adamw-fused", "sgd", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One pass (``forward``) or one training step (``train``) over ``tokens`` of text.

    Raises:
        BadInput: any value outside what its field says.
    """

    tokens: int
    """Text tokens of the whole input, per sequence."""
    batch_size: int = 1
    mode: Mode = "forward"
    """``forward`` is inference; ``train`` is forward + backward + optimizer step."""
    dtype: str = "fp32"
    """Dtype of weights, activations, gradients and optimizer state alike (not mixed)."""
    attention: str = "sdpa"
    """``eager`` keeps the square of probabilities, ``sdpa`` (efficient or flash) does not."""
    optimizer: str = "adamw"
    """``adamw`` is torch's default (foreach): one more copy of the weights while it steps."""
    dropout: bool | None = None
    """None: as the model's released config has it. False: off. Matters in ``train`` only."""
    logits: str = "last"
    """``forward`` of a language model with full attention: logits of the ``last`` token, as an RMT
    and ``generate`` give them, or of ``all``, as Hugging Face's modules do unasked. Matters for
    memory; FLOPs count the head on all text."""
    cache: bool = False
    """``forward`` of a decoder: keys and values of what was read are kept, to write text behind it
    (a prefill); else nothing is. Matters for memory."""
    bptt_segments: int | None = None
    """RMT: segments a gradient flows back through; None is all of them (the paper's choice)."""
    checkpoint_segments: bool = False
    """RMT: one activation checkpoint per segment, recomputed in the backward pass."""
    checkpoint_layers: bool = False
    """One activation checkpoint per layer (Transformers' gradient checkpointing)."""

    def __post_init__(self) -> None:
        require_positive("tokens", self.tokens)
        require_positive("batch size", self.batch_size)
        require_one_of("mode", self.mode, MODES)
        require_one_of("dtype", self.dtype, DTYPE_BYTES)
        require_one_of("attention", self.attention, ATTENTIONS)
        require_one_of("logits", self.logits, LOGITS)
        require_one_of("optimizer", self.optimizer, OPTIMIZERS)
        if self.bptt_segments is not None:
            require_positive("bptt segments", self.bptt_segments)
        if self.cache and self.mode == "train":
            raise BadInput("cache True: expected only in a forward pass, a training keeps none")
        if self.checkpoint_segments and self.checkpoint_layers:
            raise BadInput("checkpoint: expected one per segment or one per layer, not both")

    @property
    def dtype_bytes(self) -> int:
        return DTYPE_BYTES[self.dtype]

    @property
    def train(self) -> bool:
        return self.mode == "train"
