"""RMTConfig: what turns a backbone into an RMT, saved as ``config.json`` with the backbone's own.

Of an RMT that is there, ``backbone_config`` is the backbone's own object and not a copy, and what
the backbone has a say in (labels, special tokens, sizes, which attention runs) is asked of it.

Shape legend: M memory, L segment tokens, T = L plus memory (and special tokens), E embedding width.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import ALIGNMENTS
from rmtscale.specs.recurrence import ENCODER_SPECIAL_TOKENS, Recurrence, require_sink_tokens
from rmtscale.units import require_not_negative, require_one_of, require_positive

FORMAT_VERSION = 1
"""The version of ``config.json`` and of the weights' names. Any other is refused."""
LOSSES = ("all", "last")
KEPT_LOGITS = ("none", "last", "all")
_OF_THE_BACKBONE = frozenset(
    {
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "tie_word_embeddings",
        "is_encoder_decoder",
        "_attn_implementation",
        "_attn_implementation_internal",
    }
)
"""Names that every configuration of Transformers has, and that only the backbone can answer."""
_WRITTEN_BY_TRANSFORMERS = frozenset(
    {
        "_name_or_path",
        "_attn_implementation_autoset",
        "_commit_hash",
        "architectures",
        "attn_implementation",
        "auto_map",
        "chunk_size_feed_forward",
        "dtype",
        "experts_implementation",
        "id2label",
        "label2id",
        "model_type",
        "name_or_path",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
    }
)
"""Names in a ``config.json`` beside our own."""


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
        state_by_state: in training keep nothing but the states between segments, and run and
            differentiate segment after segment in the backward pass (``state_by_state.py``);
            not beside ``keep_logits="all"``. Goes before ``checkpoint_segments``.
        keep_logits: ``none``, ``last`` (of the last text token) or ``all``; the call may override.
        sink_tokens: the first memory tokens that keep their trained initial value in every segment,
            where attention finds a place that nothing overwrites (an attention sink, Xiao et al.
            2023, arXiv 2309.17453); at least one memory token has to carry. 0 is the paper's RMT.
            What a segment writes at these rows is dropped, and what a given state has there is
            not read. Layout, text per segment and cost are those of M memory tokens, of which
            M - ``sink_tokens`` carry.
        dead_band: at inference, a number of the memory keeps its old value unless one segment
            changes it by at least this much; 0 is the paper's RMT.
        pad_vocabulary_to: decoders only: the matmuls of a plain head have so many columns in
            training; a multiple of 64 suits them in 16 bits, and 50257 words are none. The loss,
            the weights and what is saved are the same; None or fewer than the words is no padding.
        cls_token_id, sep_token_id: encoders only; from the backbone's own config where it has them.
        adapter_width, adapter_scale: inner width and scale of a parallel adapter beside every
            feed-forward block (He et al. 2022, arXiv 2110.04366); None is no adapter.
        backbone_config, backbone_peft, peft, peft_switches, shared_weights, format_version: written
            by the model, read back by it.

    Raises:
        BadInput: any value outside what is said here, a name that is not said here, or a format
            version that is not known.
    """

    model_type = "rmt"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}
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
        state_by_state: bool = False,
        keep_logits: str = "last",
        sink_tokens: int = 0,
        dead_band: float = 0.0,
        pad_vocabulary_to: int | None = None,
        cls_token_id: int | None = None,
        sep_token_id: int | None = None,
        adapter_width: int | None = None,
        adapter_scale: float = 4.0,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        backbone_peft: dict[str, dict[str, Any]] | None = None,
        peft: dict[str, dict[str, Any]] | None = None,
        peft_switches: dict[str, Any] | None = None,
        shared_weights: list[list[str]] | None = None,
        format_version: int = FORMAT_VERSION,
        **kwargs: Any,
    ) -> None:
        if format_version != FORMAT_VERSION:
            raise BadInput(
                f"format version {format_version!r} of an RMT: expected {FORMAT_VERSION}, the only "
                "one this release reads"
            )
        _require_known(kwargs)
        Recurrence(segment_size, memory_tokens)
        require_one_of("alignment", alignment, ALIGNMENTS)
        require_one_of("loss_on", loss_on, LOSSES)
        require_one_of("keep_logits", keep_logits, KEPT_LOGITS)
        require_sink_tokens(sink_tokens, memory_tokens)
        require_dead_band(dead_band, memory_tokens)
        if bptt_segments is not None:
            require_positive("bptt_segments", bptt_segments)
        if pad_vocabulary_to is not None:
            require_positive("pad_vocabulary_to", pad_vocabulary_to)
        if adapter_width is not None:
            require_positive("adapter_width", adapter_width)
        if isinstance(backbone_config, dict):
            values = dict(backbone_config)
            kind = values.pop("model_type", None)
            if kind is None:
                raise BadInput("backbone_config of an RMT has no model_type")
            backbone_config = AutoConfig.for_model(kind, **values)
        attention = kwargs.pop("attn_implementation", None)
        experts = kwargs.pop("experts_implementation", None)
        super().__init__(**kwargs)
        self.format_version = format_version
        self.segment_size = segment_size
        self.memory_tokens = memory_tokens
        self.alignment = alignment
        self.loss_on = loss_on
        self.bptt_segments = bptt_segments
        self.checkpoint_segments = checkpoint_segments
        self.state_by_state = state_by_state
        self.keep_logits = keep_logits
        self.sink_tokens = sink_tokens
        self.dead_band = float(dead_band)
        self.pad_vocabulary_to = pad_vocabulary_to
        self.cls_token_id = cls_token_id
        self.sep_token_id = sep_token_id
        self.adapter_width = adapter_width
        self.adapter_scale = adapter_scale
        self.backbone_peft = backbone_peft
        self.peft = peft
        self.peft_switches = peft_switches
        self.shared_weights = shared_weights
        self.backbone_config = backbone_config
        if attention is not None:
            self.update({"_attn_implementation": attention})
        if experts is not None and self.backbone_config is not None:
            # The backbone's alone: an RMT has no experts, and Transformers would refuse it.
            self.backbone_config.update({"_experts_implementation": experts})

    def __getattribute__(self, name: str) -> Any:
        if name in _OF_THE_BACKBONE:
            inner = vars(self).get("backbone_config")
            if inner is not None:
                return getattr(inner, name, None)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        # What is neither here nor in the base class: sizes, special tokens, rotary settings. What
        # the backbone's configuration keeps for itself is none of an RMT's.
        inner = None if name.startswith("_") else vars(self).get("backbone_config")
        if inner is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        inner = vars(self).get("backbone_config")
        known = name in vars(self) or hasattr(type(self), name)
        if inner is not None and (name in _OF_THE_BACKBONE or (not known and hasattr(inner, name))):
            setattr(inner, name, value)
        else:
            super().__setattr__(name, value)

    # Transformers checks a configuration by asking for attributes. Here it would find those of the
    # backbone and hold them against the fields of an RMT: the backbone's own class checks them.
    def validate(self) -> None:
        """Has the configuration of the backbone validated, as its own class does."""
        if isinstance(self.backbone_config, PreTrainedConfig):
            self.backbone_config.validate()

    def _get_generation_parameters(self) -> dict[str, Any]:
        inner = self.backbone_config
        if isinstance(inner, PreTrainedConfig):
            return dict(inner._get_generation_parameters())
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Returns what ``config.json`` holds; what the backbone says is in its own part only."""
        values: dict[str, Any] = super().to_dict()
        if self.backbone_config is not None:
            for name in _OF_THE_BACKBONE:
                values.pop(name, None)
        return values


OPTIONS = tuple(
    name
    for name, parameter in inspect.signature(RMTConfig.__init__).parameters.items()
    if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
)
"""The names that ``RMTConfig`` takes."""
_GIVEN = OPTIONS[: OPTIONS.index("backbone_config") + 1]
"""Those that are given, not written by the model."""


def _require_known(kwargs: dict[str, Any]) -> None:
    for name in kwargs:
        if name not in _WRITTEN_BY_TRANSFORMERS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            meant = f"{near[0]}, or " if near else ""
            raise BadInput(
                f"RMTConfig has no {name!r}: expected {meant}one of {', '.join(_GIVEN)}; "
                "what the backbone is belongs into the backbone's own config"
            )


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
