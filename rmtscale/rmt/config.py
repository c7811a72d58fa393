"""RMTConfig: what turns a backbone into an RMT, saved as ``config.json`` with the backbone's own.

Shape legend: M memory, L segment tokens, T = L plus memory (and special tokens), E embedding width.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import ALIGNMENTS
from rmtscale.specs.recurrence import ENCODER_SPECIAL_TOKENS, Recurrence
from rmtscale.units import require_not_negative, require_one_of, require_positive

FORMAT_VERSION = 1
"""The version of ``config.json`` and of the weights' names. Any other is refused."""
LOSSES = ("all", "last")
KEPT_LOGITS = ("none", "last", "all")


class RMTConfig(PreTrainedConfig):  # type: ignore[misc]
    """The recurrent part, beside the configuration of the backbone.

    Args:
        segment_size: T, everything the backbone sees in one recurrent step: text, memory and
            special tokens (the paper's 512 or 1000).
        memory_tokens: M, length of the recurrent state; 0 is a model without memory.
        alignment: ``right`` (the first segment is shorter, as in the paper) or ``left``.
        loss_on: ``all`` labels, or those predicted by the ``last`` segment of each sample.
        bptt_segments: how many segments a gradient flows back through; None is all of them.
        checkpoint_segments: one activation checkpoint per segment in training.
        keep_logits: ``none``, ``last`` (of the last text token) or ``all``; the call may override.
        dead_band: at inference, a number of the memory keeps its old value unless one segment
            changes it by at least this much; 0 is the paper's RMT.
        cls_token_id, sep_token_id: encoders only; from the backbone's own config where it has them.
        adapter_width, adapter_scale: inner width and scale of a parallel adapter beside every
            feed-forward block (He et al. 2022, arXiv 2110.04366); None is no adapter.
        backbone_config, backbone_peft, format_version: written by the model, read back by it.

    Raises:
        BadInput: any value outside what is said here, or a format version that is not known.
    """

    model_type = "rmt"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["memory"]

    def __init__(
        self,
        segment_size: int = 512,
        memory_tokens: int = 10,
        *,
        alignment: str = "right",
        loss_on: str = "all",
        bptt_segments: int | None = None,
        checkpoint_segments: bool = False,
        keep_logits: str = "last",
        dead_band: float = 0.0,
        cls_token_id: int | None = None,
        sep_token_id: int | None = None,
        adapter_width: int | None = None,
        adapter_scale: float = 4.0,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        backbone_peft: dict[str, dict[str, Any]] | None = None,
        format_version: int = FORMAT_VERSION,
        **kwargs: Any,
    ) -> None:
        if format_version != FORMAT_VERSION:
            raise BadInput(
                f"format version {format_version!r} of an RMT: expected {FORMAT_VERSION}, the only "
                "one this release reads"
            )
        Recurrence(segment_size, memory_tokens)
        require_one_of("alignment", alignment, ALIGNMENTS)
        require_one_of("loss_on", loss_on, LOSSES)
        require_one_of("keep_logits", keep_logits, KEPT_LOGITS)
        require_dead_band(dead_band, memory_tokens)
        if bptt_segments is not None:
            require_positive("bptt_segments", bptt_segments)
        if adapter_width is not None:
            require_positive("adapter_width", adapter_width)
        self.format_version = format_version
        self.segment_size = segment_size
        self.memory_tokens = memory_tokens
        self.alignment = alignment
        self.loss_on = loss_on
        self.bptt_segments = bptt_segments
        self.checkpoint_segments = checkpoint_segments
        self.keep_logits = keep_logits
        self.dead_band = float(dead_band)
        self.cls_token_id = cls_token_id
        self.sep_token_id = sep_token_id
        self.adapter_width = adapter_width
        self.adapter_scale = adapter_scale
        if isinstance(backbone_config, dict):
            values = dict(backbone_config)
            kind = values.pop("model_type", None)
            if kind is None:
                raise BadInput("backbone_config of an RMT has no model_type")
            backbone_config = AutoConfig.for_model(kind, **values)
        self.backbone_config = backbone_config
        self.backbone_peft = backbone_peft
        super().__init__(**kwargs)


def require_dead_band(dead_band: float, memory_tokens: int) -> None:
    """Raises ``BadInput`` unless ``dead_band`` is 0 or more, and 0 where there is no memory."""
    require_not_negative("dead band", dead_band)
    if dead_band and not memory_tokens:
        raise BadInput(f"dead band {dead_band} without memory tokens: expected 0")


def decoder_segment_tokens(config: RMTConfig) -> int:
    """Returns L of a decoder: read and write memory (2M) leave the rest of the segment to text."""
    return _segment_tokens(config, 2 * config.memory_tokens)


def encoder_segment_tokens(config: RMTConfig) -> int:
    """Returns L of an encoder: memory once, and ``[CLS]``, ``[SEP]``, ``[SEP]``."""
    return _segment_tokens(config, config.memory_tokens + ENCODER_SPECIAL_TOKENS)


def _segment_tokens(config: RMTConfig, overhead: int) -> int:
    if config.segment_size <= overhead:
        raise BadInput(
            f"segment size {config.segment_size}: expected more than {overhead}, which "
            f"{config.memory_tokens} memory tokens take"
        )
    return int(config.segment_size) - overhead
