"""The base of both RMT models: the backbone inside, saving, loading, checkpointing, freezing.

Shape legend: B batch, M memory, E embedding width.
"""

from __future__ import annotations

import copy
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from rmtscale.errors import BadInput
from rmtscale.rmt.adapter import attach
from rmtscale.rmt.backbones import (
    embedding_std,
    require_kind,
    require_positions,
    unwrap,
    with_peft,
)
from rmtscale.rmt.config import RMTConfig, require_dead_band
from rmtscale.rmt.memory import Memory, apply_dead_band

_INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"


class RMTPreTrainedModel(PreTrainedModel, ABC):  # type: ignore[misc]
    """A backbone and a trainable initial memory."""

    config_class = RMTConfig
    base_model_prefix = "rmt"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _accepted: ClassVar[dict[str, str]] = {}
    _auto: ClassVar[Any] = AutoModelForCausalLM

    def __init__(self, backbone: nn.Module | RMTConfig, config: RMTConfig | None = None) -> None:
        """Wraps ``backbone``; with a config alone, builds one as ``config.backbone_config`` says.

        Raises:
            BadInput: a backbone kind that is not supported, or a segment size that leaves no room
                for text or does not fit in the position table.
        """
        adapters: dict[str, dict[str, Any]] = {}
        if isinstance(backbone, RMTConfig):
            config, backbone = backbone, None  # type: ignore[assignment]
        if not isinstance(config, RMTConfig):
            raise BadInput(f"config {type(config).__name__}: expected RMTConfig")
        config = copy.deepcopy(config)
        model: PreTrainedModel
        if backbone is not None:
            model, adapters = unwrap(backbone)
            require_kind(model, self._accepted)
            config.backbone_config = copy.deepcopy(model.config)
            config.backbone_peft = adapters or None
        elif config.backbone_config is None:
            raise BadInput("RMTConfig without backbone_config: expected a backbone as well")
        # Before the backbone is built, because building is work.
        require_positions(config.backbone_config, config.segment_size)
        self._segment_tokens_of(config)
        super().__init__(config)
        if backbone is None:
            model = self._auto.from_config(config.backbone_config)
            require_kind(model, self._accepted)
            model = with_peft(model, config.backbone_peft or {})
        self.backbone = model
        weight = model.get_input_embeddings().weight
        self.memory = Memory(config.memory_tokens, weight.shape[1], weight.dtype)
        self.adapters = nn.ModuleList()
        if config.adapter_width is not None:
            self.adapters = attach(model, config.adapter_width, config.adapter_scale)
        self.memory.to(weight.device)
        self.adapters.to(weight.device)
        self.segment_steps: dict[Any, Any] = {}
        """Captured steps, which ``infer`` keeps for its next call, by batch size and switches."""
        self.post_init()

    def __getstate__(self) -> dict[str, Any]:
        # A captured CUDA graph can be neither copied nor pickled; it is made again where needed.
        return {**self.__dict__, "segment_steps": {}}

    @staticmethod
    @abstractmethod
    def _segment_tokens_of(config: RMTConfig) -> int:
        """Text tokens of a full segment; BadInput where memory leaves no room for any."""

    @property
    def segment_tokens(self) -> int:
        """Text tokens of a full segment."""
        return self._segment_tokens_of(self.config)

    @property
    def vocabulary(self) -> int:
        """Token ids the backbone knows."""
        return int(self.embedding_VE.shape[0])

    @property
    def embedding_VE(self) -> Tensor:
        """The token embeddings, detached: memory has their width, dtype and device."""
        weight_VE: Tensor = self.backbone.get_input_embeddings().weight.detach()
        return weight_VE

    def set_dead_band(self, dead_band: float) -> None:
        """Sets ``config.dead_band`` for every inference that begins from now on.

        Raises:
            BadInput: below 0, or above 0 for a model without memory.
        """
        require_dead_band(dead_band, self.config.memory_tokens)
        self.config.dead_band = float(dead_band)

    def hand_over(self, state_BME: Tensor, new_BME: Tensor) -> Tensor:
        """Returns the state that the next segment reads: the one place where a dead band acts.

        Args:
            state_BME: the state before the segment.
            new_BME: what came out of the segment at its memory tokens.

        Raises:
            BadInput: a dead band in training mode, which learns the paper's recurrence.
        """
        dead_band = self.config.dead_band
        if dead_band and self.training:
            raise BadInput(
                f"dead band {dead_band} in training mode: expected 0, or model.eval() for inference"
            )
        return apply_dead_band(state_BME, new_BME, dead_band)

    def init_weights(self) -> None:
        # The backbone comes with its weights, or drew them when it was built; Transformers' own
        # walk over all modules would draw them anew.
        if self.memory.initial_ME is not None and not self.memory.initial_ME.is_meta:
            self.memory.reset(embedding_std(self.backbone))

    def get_input_embeddings(self) -> nn.Module:
        embedding: nn.Module = self.backbone.get_input_embeddings()
        return embedding

    def freeze_backbone(self) -> None:
        """Trains only what was added: memory, adapters, and ``peft`` layers in the backbone."""
        added = {id(p) for p in (*self.memory.parameters(), *self.adapters.parameters())}
        for name, parameter in self.named_parameters():
            lora = "lora_" in name or "modules_to_save" in name
            parameter.requires_grad_(id(parameter) in added or lora)

    def activation_checkpointing_enable(self, *_: Any, **__: Any) -> None:
        """Sets one checkpoint per segment (``Trainer`` calls this for ``gradient_checkpointing``).

        Transformers' own, one per layer, is the same method of ``model.backbone``.
        """
        self.config.checkpoint_segments = True

    def activation_checkpointing_disable(self) -> None:
        self.config.checkpoint_segments = False

    @property
    def is_activation_checkpointing(self) -> bool:
        return bool(self.config.checkpoint_segments)

    # The names up to Transformers 5.17 and from then on.
    gradient_checkpointing_enable = activation_checkpointing_enable
    gradient_checkpointing_disable = activation_checkpointing_disable
    is_gradient_checkpointing = is_activation_checkpointing

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes ``config.json`` and safetensors, the backbone with them, in one folder.

        Raises:
            BadInput: asked for anything but safetensors.
        """
        if not kwargs.pop("safe_serialization", True):
            raise BadInput("safe_serialization False: expected True, weights are safetensors only")
        try:
            super().save_pretrained(save_directory, **kwargs)
        except RuntimeError as error:
            if "shared tensors" not in str(error):
                raise
            raise BadInput(
                "adapters around a head that is tied to the embeddings: expected them merged, or "
                "the head untied, before saving"
            ) from error
        generation = getattr(self.backbone, "generation_config", None)
        if generation is not None and kwargs.get("is_main_process", True):
            generation.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """Reads back what ``save_pretrained`` wrote.

        Raises:
            BadInput: not such a folder, another format version, or weights that are truncated,
                missing, too many or of another shape.
        """
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise BadInput(f"checkpoint {str(folder)!r}: expected a folder with config.json")
        _require_config(path)
        _require_weights(path)
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["use_safetensors"] = True
        try:
            model, info = super().from_pretrained(path, *args, output_loading_info=True, **kwargs)
        except RuntimeError as error:
            if "size mismatch" not in str(error) and "mismatched" not in str(error):
                raise
            raise BadInput(f"checkpoint {str(folder)!r}: weights of another shape") from error
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info.get(what):
                names = sorted(str(name) for name in info[what])
                raise BadInput(
                    f"checkpoint {str(folder)!r} has {len(names)} {what.replace('_', ' ')}, "
                    f"first {names[0]}: expected the weights of a {cls.__name__}"
                )
        if (path / "generation_config.json").is_file() and hasattr(
            model.backbone, "generation_config"
        ):
            model.backbone.generation_config = type(
                model.backbone.generation_config
            ).from_pretrained(path)
        return (model, info) if wants_info else model


def _require_config(path: Path) -> None:
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"checkpoint {str(path)!r}: config.json is not JSON: {error}") from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != RMTConfig.model_type:
        raise BadInput(
            f"checkpoint {str(path)!r} is of model_type {kind!r}: expected {RMTConfig.model_type!r}"
        )


def _require_weights(path: Path) -> None:
    """Opens every weight file: a truncated one has a header that promises more than is there."""
    names = [_WEIGHTS]
    if (path / _INDEX).is_file():
        index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    for name in names:
        file = path / Path(name).name
        if not file.is_file():
            raise BadInput(f"checkpoint {str(path)!r}: expected {name}")
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise BadInput(
                f"checkpoint {str(path)!r}: {name} is truncated or damaged: {error}"
            ) from error


def no_grad_unless(wanted: bool) -> torch.autograd.grad_mode.set_grad_enabled:
    """Gradients as they are, or off."""
    return torch.set_grad_enabled(wanted and torch.is_grad_enabled())
