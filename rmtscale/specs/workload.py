"""A workload: how much text, in which mode, kept and computed how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from rmtscale.errors import BadInput, quoted_list
from rmtscale.limits import MOST_TOKENS
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.precision import PRECISIONS, Precision, find_precision
from rmtscale.units import require_one_of, require_positive

Mode = Literal["forward", "train"]
Method = Literal["full", "rmt"]
MODES = ("forward", "train")
METHODS = ("full", "rmt")
ATTENTIONS = ("eager", "sdpa")
LOGITS = ("all", "last")
OPTIMIZERS = (*("adamw", "adamw-fused", "adamw-8bit", "adafactor", "lion", "muon", "sgd", "none"),)
MASTER_OPTIMIZERS = ("adamw", "adamw-fused", "lion", "sgd")
"""Those that can step on fp32 copies of the weights, whatever dtype the weights have."""


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
    precision: str = "bf16"
    """``fp32``, ``tf32``, ``bf16`` and ``fp16`` are one dtype throughout; ``amp-bf16`` and
    ``amp-fp16`` are autocast over fp32 weights; ``master-bf16`` is bf16 weights and gradients with
    fp32 copies and moments in the optimizer."""
    attention: str = "sdpa"
    """``eager`` keeps the square of probabilities, ``sdpa`` (efficient or flash) does not."""
    optimizer: str = "adamw"
    """``adamw`` is torch's default (foreach): one more copy of the weights while it steps."""
    accumulate: int = 1
    """``train``: micro-batches of ``batch_size`` whose gradients are summed before one step."""
    adapter: Adapter | None = None
    """``train``: what is trained in place of the weights; None is all of them."""
    offload_optimizer: bool = False
    """``train``: the optimizer, its fp32 copies of the weights and its states are on the host."""
    host_memory_bytes: int | None = None
    """Memory of the host, which an offloaded optimizer has to fit in."""
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
    capture: bool = False
    """RMT, ``train``: whole steps as one CUDA graph (``capture_training``), where they can be.
    Matters for time; memory is that of an eager step."""
    compile_step: bool = False
    """RMT, captured: full segments are compiled; a forward pass of a decoder is captured anyway.
    Matters for time only."""

    def __post_init__(self) -> None:
        require_positive("tokens", self.tokens, MOST_TOKENS)
        require_positive("batch size", self.batch_size, MOST_TOKENS)
        require_one_of("mode", self.mode, MODES)
        object.__setattr__(self, "precision", find_precision(self.precision).name)
        require_positive("accumulate", self.accumulate, MOST_TOKENS)
        require_one_of("attention", self.attention, ATTENTIONS)
        require_one_of("logits", self.logits, LOGITS)
        require_one_of("optimizer", self.optimizer, OPTIMIZERS)
        if self.bptt_segments is not None:
            require_positive("bptt segments", self.bptt_segments, MOST_TOKENS)
        if self.cache and self.mode == "train":
            raise BadInput("cache True: expected only in a forward pass, a training keeps none")
        if self.checkpoint_segments and self.checkpoint_layers:
            raise BadInput(
                "checkpoint segments True with checkpoint layers True: expected one of them"
            )
        if self.compile_step and self.mode == "train" and not self.capture:
            raise BadInput("compile True: expected with capture in a training")
        self._require_training()

    def _require_training(self) -> None:
        """Raises ``BadInput`` for settings of a training that exclude each other."""
        if self.mode != "train":
            if self.capture:
                raise BadInput(
                    f"capture with mode {self.mode!r}: expected train; segments of a forward pass "
                    "are captured anyway"
                )
            for name, value in (
                ("accumulate", self.accumulate > 1 and self.accumulate),
                ("adapter", self.adapter and repr(self.adapter.kind)),
                ("offload optimizer", self.offload_optimizer),
            ):
                if value:
                    raise BadInput(f"{name} {value} with mode {self.mode!r}: expected train")
            return
        if self.offload_optimizer and self.host_memory_bytes is None:
            raise BadInput("offload optimizer True: expected the memory of the host (host memory)")
        alone = self.optimizer not in MASTER_OPTIMIZERS
        if alone and (self.casts.master or self.offload_optimizer):
            what = repr(self.precision) if self.casts.master else "an offloaded optimizer"
            raise BadInput(
                f"optimizer {self.optimizer!r}: expected {quoted_list(MASTER_OPTIMIZERS)} with "
                f"{what}, which steps on fp32 copies of the weights"
            )

    def of_length(self, tokens: int) -> Workload:
        """Returns the same work over inputs of so many tokens, none of it looked at again.

        Raises:
            BadInput: tokens below 1, or more than anything has.
        """
        require_positive("tokens", tokens, MOST_TOKENS)
        made = object.__new__(Workload)
        for name, value in zip(_OTHERS, _others(self), strict=True):
            object.__setattr__(made, name, value)
        object.__setattr__(made, "tokens", tokens)
        return made

    def any_length(self) -> Workload:
        """Returns the same work over one token: one object for all lengths, to remember by."""
        return _of_one_token(_others(self))

    @property
    def casts(self) -> Precision:
        """The precision, as dtypes."""
        return PRECISIONS[self.precision]

    @property
    def dtype(self) -> str:
        """The arithmetic that matmuls run in: ``fp32``, ``tf32``, ``bf16`` or ``fp16``."""
        return self.casts.arithmetic

    @property
    def dtype_bytes(self) -> int:
        """Bytes of what a matmul reads and writes."""
        return self.casts.compute_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of one weight."""
        return self.casts.weight_bytes

    @property
    def train(self) -> bool:
        return self.mode == "train"


_OTHERS = tuple(field.name for field in fields(Workload) if field.name != "tokens")
_others = attrgetter(*_OTHERS)


@lru_cache(maxsize=256)
def _of_one_token(others: tuple[Any, ...]) -> Workload:
    return Workload(tokens=1, **dict(zip(_OTHERS, others, strict=True)))
