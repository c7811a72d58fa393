"""A question whole: model, device, workload and mode; and the peak of any way of doing it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rmtscale.costs.generation_memory import generation_peak
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.memory import PeakMemory, estimate_memory
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.errors import BadInput
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import require_one_of

MODES = ("train", "prefill", "generate")
PIECE_TOKENS = 8192
"""Tokens of a piece of the prompt where it is read in pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A workload on a device, in a mode, with an RMT of a given segment size or the best.

    Raises:
        BadInput: an unknown mode, or one that the model cannot be in.
    """

    model: ModelSpec
    device: DeviceSpec
    workload: Workload
    """Tokens, batch size, dtype and all else; its mode follows from that of the question."""
    mode: str = "prefill"
    """``train``: a step; ``prefill``: reading a prompt, its cache kept; ``generate``: writing too.
    Of an encoder, which keeps no cache, ``prefill`` is one pass."""
    new_tokens: int = 1000
    """``generate``: tokens to write."""
    kv_dtype: str | None = None
    """Dtype of keys and values that are kept (``fp8``, ``int8``); None is that of all else."""
    segment_size: int | None = None
    """None: recommended."""
    memory_tokens: int = 10
    calibration: TimeConstants | None = None

    def __post_init__(self) -> None:
        require_one_of("mode", self.mode, MODES)
        if self.mode == "generate" and not self.model.decoder:
            raise BadInput(
                f"mode 'generate': {self.model.name} writes no text by itself, expected train or "
                "prefill"
            )
        if self.mode == "generate" and self.calibration is not None:
            raise BadInput("calibration: expected with train or prefill, no writing was measured")
        if self.kv_dtype and (self.mode == "train" or not keeps_cache(self.model)):
            raise BadInput(
                f"kv dtype {self.kv_dtype!r}: expected only where a decoder keeps keys and values"
            )

    @property
    def work(self) -> Workload:
        """The workload in the mode of the question."""
        train = self.mode == "train"
        cache = not train and keeps_cache(self.model)
        return replace(self.workload, mode="train" if train else "forward", cache=cache)

    def generation(self, workload: Workload, piece: int | None = None) -> Generation:
        """Returns the workload as a generation; a prefill writes the token of its last logits."""
        return Generation(
            context_tokens=workload.tokens,
            new_tokens=self.new_tokens if self.mode == "generate" else 1,
            batch_size=workload.batch_size,
            dtype=workload.dtype,
            kv_dtype=self.kv_dtype,
            prefill_chunk=piece,
        )


def keeps_cache(model: ModelSpec) -> bool:
    """Whether what it reads is kept as a cache: that of a decoder that reads with no encoder."""
    return model.decoder and not (isinstance(model, LayeredSpec) and bool(model.encoder_groups))


def peak_of(
    question: Question, work: Workload, recurrence: Recurrence | None, piece: int | None = None
) -> PeakMemory:
    """The peak of one way, which is held against the device; a ``piece`` of the prompt at once."""
    pieces = piece is not None and keeps_cache(question.model)
    if question.mode == "generate" or pieces or question.kv_dtype:
        generation = question.generation(work, piece)
        return generation_peak(question.model, generation, question.device, recurrence)
    return estimate_memory(question.model, work, recurrence, question.device)
