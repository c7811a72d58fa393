"""The base of both RMT models: the backbone inside, saving, loading, checkpointing, freezing.

Shape legend: B batch, M memory, E embedding width.
"""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from rmtscale.errors import BadInput
from rmtscale.rmt.adapter import attach
from rmtscale.rmt.backbones import body_of, embedding_std
from rmtscale.rmt.capture import GraphCapture
from rmtscale.rmt.captured_training import CapturedTraining
from rmtscale.rmt.checkpoint import load, loaded_weights, save
from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.config import RMTConfig, require_dead_band
from rmtscale.rmt.description import build, require_describable
from rmtscale.rmt.families import require_positions
from rmtscale.rmt.memory import Memory, apply_dead_band, keep_sink
from rmtscale.rmt.peft_layers import added_by_peft, put_back, unwrap
from rmtscale.rmt.sharding import Gathers


class RMTPreTrainedModel(Gathers, PreTrainedModel, ABC):  # type: ignore[misc]
    """A backbone and a trainable initial memory."""

    config_class = RMTConfig
    base_model_prefix = "rmt"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_set_experts_implementation_cached_value = True
    """How experts are multiplied is the backbone's to know: a mixture brings its own with it."""
    causal: ClassVar[bool]
    """Whether the backbone is a decoder."""
    dead_band_B11: Tensor | None = None
    """The dead band of each row, inside ``dead_band_of_rows``; None: ``config.dead_band`` is."""
    _auto: ClassVar[Any] = AutoModelForCausalLM

    def __init__(self, backbone: nn.Module | RMTConfig, config: RMTConfig | None = None) -> None:
        """Wraps ``backbone``; with a config alone, builds one as ``config.backbone_config`` says.

        Raises:
            BadInput: a backbone that fails a check of ``checks.py`` (which one is said), or a
                segment size that leaves no room for text or does not fit in the position table.
        """
        if isinstance(backbone, RMTConfig):
            config, backbone = backbone, None  # type: ignore[assignment]
        if not isinstance(config, RMTConfig):
            raise BadInput(f"config {type(config).__name__}: expected RMTConfig")
        config = copy.deepcopy(config)
        model: Any = None
        if backbone is not None:
            model = unwrap(backbone)
            body = body_of(model, config.segment_size, causal=self.causal)
            config.backbone_config = model.config
        elif config.backbone_config is None:
            raise BadInput("RMTConfig without backbone_config: expected a backbone as well")
        # Before the backbone is built, because building is work.
        require_positions(config.backbone_config, config.segment_size)
        self._segment_tokens_of(config)
        if model is None:
            model = build(
                self._auto, config.backbone_config, config.backbone_peft, fill=loaded_weights()
            )
            new = loaded_weights() is None
            body = body_of(model, config.segment_size, causal=self.causal, check=new)
            config.backbone_config = model.config
        else:
            require_describable(self._auto, model)
        super().__init__(config)
        self.backbone = model
        self.body = body
        weight = model.get_input_embeddings().weight
        self.memory = Memory(config.memory_tokens, weight.shape[1], weight.dtype)
        self.adapters = nn.ModuleList()
        if config.adapter_width is not None:
            self.adapters = attach(model, body, config.adapter_width, config.adapter_scale)
        self.memory.to(weight.device)
        self.adapters.to(weight.device)
        self.segment_steps: dict[Any, Any] = {}
        """Captured steps, which ``infer`` keeps for its next call, by batch size and switches."""
        self.captured_training: CapturedTraining | None = None
        """Set by ``capture_training``."""
        self.post_init()
        put_back(self, self.config.peft)

    def __getstate__(self) -> dict[str, Any]:
        # A captured CUDA graph can be neither copied nor pickled; it is made again where needed.
        return {**self.__dict__, "segment_steps": {}, "captured_training": None}

    @staticmethod
    @abstractmethod
    def _segment_tokens_of(config: RMTConfig) -> int:
        """Text tokens of a full segment; BadInput where memory leaves no room for any."""

    @property
    def segment_tokens(self) -> int:
        """Text tokens of a full segment."""
        return self._segment_tokens_of(self.config)

    @property
    @never_compiled
    def vocabulary(self) -> int:
        """Token ids the backbone knows."""
        return int(self.embedding_VE.shape[0])

    @property
    @never_compiled
    def embedding_VE(self) -> Tensor:
        """The token embeddings, detached: memory has their width, dtype and device."""
        weight_VE: Tensor = self.backbone.get_input_embeddings().weight.detach()
        return weight_VE

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls ``forward``, around which FSDP2's hooks do not go (see ``sharding.py``)."""
        return self.forward(*args, **kwargs) if self.sharded else super().__call__(*args, **kwargs)

    def initial_state(self, batch: int) -> Tensor:
        """Returns the trained state before the first segment, (B, M, E)."""

        def state() -> Tensor:
            state_BME: Tensor = self.memory(self.embedding_VE, batch)
            # A copy: what FSDP2 gathers is gone when it is used.
            return state_BME.clone() if self.sharded else state_BME

        return self.gathered(state)

    def set_dead_band(self, dead_band: float) -> None:
        """Sets ``config.dead_band`` for every inference that begins from now on.

        Raises:
            BadInput: below 0, or above 0 for a model without memory.
        """
        require_dead_band(dead_band, self.config.memory_tokens)
        self.config.dead_band = float(dead_band)

    @contextmanager
    def with_dead_band(self, dead_band: float) -> Iterator[None]:
        """Sets ``config.dead_band`` inside, and what it was before again, whatever happens.

        Raises:
            BadInput: below 0, or above 0 for a model without memory.
        """
        before = self.config.dead_band
        self.set_dead_band(dead_band)
        try:
            yield
        finally:
            self.config.dead_band = before

    @contextmanager
    def dead_band_of_rows(self, dead_bands: Sequence[float]) -> Iterator[None]:
        """Gives each row of the batches inside a dead band of its own, not that of the config.

        So several are compared on the same text side by side, in one captured or compiled step. 0
        is the paper's RMT here too. A batch of another size fails.

        Args:
            dead_bands: of rows 0 to B - 1.

        Raises:
            BadInput: one is below 0, or above 0 for a model without memory.
        """
        for dead_band in dead_bands:
            require_dead_band(dead_band, self.config.memory_tokens)
        weight = self.embedding_VE
        self.dead_band_B11 = weight.new_tensor(dead_bands)[:, None, None]
        try:
            yield
        finally:
            self.dead_band_B11 = None

    def take_up(self, state_BME: Tensor) -> Tensor:
        """Returns the state as a segment reads it: with the trained initial value at its sink.

        Here and not only where a segment hands over, so that the initial value has a gradient from
        every segment with a graph, also from one whose state came without: the first of a BPTT
        window, or the one after a burn-in.

        Args:
            state_BME: the state before the segment, whatever stands at its sink.
        """
        sink_tokens, initial_ME = self.config.sink_tokens, self.memory.initial_ME
        if not sink_tokens:
            return state_BME
        assert initial_ME is not None, "sink tokens are memory tokens"
        return keep_sink(initial_ME.expand(len(state_BME), -1, -1), state_BME, sink_tokens)

    def hand_over(self, state_BME: Tensor, new_BME: Tensor) -> Tensor:
        """Returns the state that the next segment reads: the one place where a dead band acts, and
        where what was written at a sink is dropped.

        Args:
            state_BME: the state before the segment, as ``take_up`` gave it.
            new_BME: what came out of the segment at its memory tokens.

        Raises:
            BadInput: a dead band in training mode, which learns the paper's recurrence.
        """
        dead_band = self.config.dead_band if self.dead_band_B11 is None else self.dead_band_B11
        if self.training and (self.dead_band_B11 is not None or dead_band):
            raise BadInput(
                f"dead band {dead_band} in training mode: expected 0, or model.eval() for inference"
            )
        new_BME = apply_dead_band(state_BME, new_BME, dead_band)
        return keep_sink(state_BME, new_BME, self.config.sink_tokens)

    def init_weights(self) -> None:
        # The backbone comes with its weights, or drew them when it was built; Transformers' own
        # walk over all modules would draw them anew.
        if loaded_weights() is None and not self.embedding_VE.is_meta:
            self.memory.reset(embedding_std(self.backbone))

    def tie_weights(self, *_: Any, **__: Any) -> None:
        """Leaves everything as it is: the backbone has tied what it ties.

        Transformers' own goes by the configuration, and would tie a head to a trained copy of the
        embeddings that stands in their place.
        """

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Gives the backbone more or fewer tokens, as Transformers does.

        Raises:
            BadInput: the backbone then is not what its configuration says (adapters in the way).
        """
        embedding: nn.Module = self.backbone.resize_token_embeddings(*args, **kwargs)
        require_describable(self._auto, self.backbone)
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Sets which attention the backbone runs.

        Raises:
            BadInput: the backbone has no such attention.
        """
        try:
            self.backbone.set_attn_implementation(attn_implementation, *args, **kwargs)
        except (ValueError, ImportError) as error:
            raise BadInput(f"attention {attn_implementation!r}: {error}") from error
        runs = self.config._attn_implementation
        if isinstance(attn_implementation, str) and runs != attn_implementation:
            raise BadInput(
                f"attention {attn_implementation!r}: expected {runs!r}, which "
                f"{type(self.backbone).__name__} cannot be switched from"
            )

    def capture_training(
        self, enabled: bool = True, *, lengths: int = 8, compile_step: bool = False
    ) -> None:
        """Switches captured training steps on or off; ``forward`` with labels then replays them.

        Forward, loss and backward pass of all segments are one CUDA graph: nothing waits for
        Python. The first call captures its shape, another shape is captured when it comes for the
        second time. ``loss.backward()`` hands the gradients out, once. What the call returns
        beside the loss has no graph. ``parameter.grad`` is kept up to the next call of ``forward``
        with labels, and accumulates beyond it, but another reference to it does not outlive that
        call. What cannot be captured runs eagerly, and a warning says why, once: a CPU, fp16,
        backbones run by their own forward, GPT-Neo, hooks, dropout under checkpoints or state by
        state, one checkpoint per layer, logits of every token, weights that are sharded or cut.
        DDP around the model is no such thing: nothing of it is captured, and it reduces the
        gradients as they are handed out.

        Args:
            enabled: False forgets what was captured.
            lengths: how many shapes of inputs are kept; the one unused for longest makes room.
            compile_step: compile the blocks for full segments, all of them once, and the loss
                behind a plain head.

        Raises:
            BadInput: fewer than one length.
        """
        training = CapturedTraining(GraphCapture(), lengths, compile_step=compile_step)
        self.captured_training = training if enabled else None

    def run_step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Any, ...]:
        """Runs ``step``; a full segment that is captured as ``CapturedTraining.step`` does."""
        training = self.captured_training
        model: Any = self
        found: tuple[Any, ...]
        if training is None or lengths_B is not None or ids_BL.shape[1] != self.segment_tokens:
            found = model.step(state_BME, ids_BL, lengths_B)
        else:
            found = training.step(self, state_BME, ids_BL)
        return found

    def embed(self, text_BL: Tensor) -> Tensor:
        """Returns the embeddings of ids, (B, L), or what already are embeddings, (B, L, E)."""
        if text_BL.is_floating_point():
            return text_BL
        embeds_BLE: Tensor = self.get_input_embeddings()(text_BL)
        return embeds_BLE

    def get_input_embeddings(self) -> nn.Module:
        embedding: nn.Module = self.backbone.get_input_embeddings()
        return embedding

    def freeze_backbone(self) -> None:
        """Trains only what was added: memory, adapters, and what ``peft`` trains in the backbone.

        What ``peft`` has put there, and the biases it trains beside, are left as it has set them.
        """
        added = {id(p) for p in (*self.memory.parameters(), *self.adapters.parameters())}
        of_peft = {id(p) for p in (*added_by_peft(self), *added_by_peft(self.backbone))}
        for parameter in self.parameters():
            if id(parameter) not in of_peft:
                parameter.requires_grad_(id(parameter) in added)

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

        The configuration says what the model is now: its adapters, its vocabulary, its labels,
        which parameters share storage.

        Raises:
            BadInput: asked for anything but safetensors, or a backbone that was changed into what
                no configuration describes.
        """
        save(self, super().save_pretrained, save_directory, **kwargs)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """Reads back what ``save_pretrained`` wrote.

        Args:
            folder: the checkpoint.
            args: none.
            kwargs: ``dtype`` (that of each weight as saved, by default), ``device_map`` (one
                device), ``attn_implementation``, ``output_loading_info``, ``config``, and options
                of ``RMTConfig`` to change.

        Raises:
            BadInput: not such a folder, another format version, weights that are truncated,
                missing, too many or of another shape, or an argument that is not known.
        """
        return load(cls, folder, *args, **kwargs)


@never_compiled
def no_grad_unless(wanted: bool) -> torch.autograd.grad_mode.set_grad_enabled:
    """Gradients as they are, or off."""
    return torch.set_grad_enabled(wanted and torch.is_grad_enabled())
