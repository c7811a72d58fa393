"""The subject of a measurement: the real module of a point, its input, and one step of it.

Shapes: B batch, N text tokens of the input, L text tokens of a segment.

``full`` is Hugging Face's module with its own loss (``labels=input_ids``), without a cache; it
holds its output, logits included, until the backward pass is over. ``rmt`` is ``rmtscale.rmt``:
in training the loss is summed segment by segment, with truncated BPTT the backward pass of a
window runs before the next window, and whole steps are captured if asked; inference is ``infer``,
which keeps no logits but the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rmtscale.errors import BadInput, reason_of
from rmtscale.profiler.adapters import with_adapter
from rmtscale.profiler.optimizers import make_optimizer
from rmtscale.profiler.ranks import Ranks
from rmtscale.profiler.real_module import class_of_config, real_module, without_dropout
from rmtscale.profiler.shared_context import SharedContext
from rmtscale.profiler.shared_step import share
from rmtscale.records.point import Point
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import find_precision
from rmtscale.specs.reading import text_part
from rmtscale.specs.recurrence import ENCODER_SPECIAL_TOKENS

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_SEED = 0


class Subject:
    """The model of a point, on its device, and one step of it.

    Raises:
        BadInput: a checkpoint that is not there or is of another shape.
    """

    def __init__(self, point: Point, ranks: Ranks | None = None) -> None:
        self.point = point
        torch.manual_seed(_SEED)
        self.casts = find_precision(point.precision)
        tf32 = self.casts.arithmetic == "tf32"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        self.model: Any = _build(point)
        self.model.train(point.mode == "train")
        spec, rows = point.model, point.batch_size
        self.context: SharedContext | None = None
        if point.layout is not None and ranks is not None:
            layout = point.layout
            self.model, self.context = share(self.model, layout, point.device, ranks, point.tokens)
            rows = layout.micro_batch
            # Ranks of tensor and context parallelism have the same rows, those of data their own.
            torch.manual_seed(_SEED + 1 + ranks.place.rank // (layout.tp * layout.cp))
        self.ids_BN = torch.randint(spec.vocabulary, (rows, point.tokens), device=point.device)
        self.labels = self.ids_BN
        if spec.head == "classification":
            self.labels = torch.zeros(point.batch_size, dtype=torch.long, device=point.device)
        if point.capture:
            rmt: Any = self.model
            rmt.capture_training(compile_step=point.compile_step)
        self.optimizer: Any = None
        if point.optimizer is not None:
            self.optimizer = make_optimizer(
                point.optimizer,
                self.model,
                master=self.casts.master,
                offloaded=point.offload_optimizer,
            )

    def step(self) -> None:
        """Runs one forward pass, or one whole training step; gradients are freed at its end."""
        if self.point.mode == "forward":
            with torch.inference_mode(), self._autocast():
                self._forward()
            return
        for _ in range(self.point.accumulate):
            self._backward()
        if self.optimizer is not None:
            self.optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def forget_captures(self) -> None:
        """Has the next step captured anew."""
        training = self.model.captured_training
        assert training is not None, "of a point that is captured"
        training.forget()

    def one_pass(self) -> None:
        """Runs the backbone once, as a step runs it: what is looked at for the attention kernel."""
        if self.point.method == "full" or self.point.layout is not None:
            self.step()
            return
        model = self.model
        ids_BL = self.ids_BN[:, -model.segment_tokens :]
        with torch.inference_mode(self.point.mode == "forward"), self._autocast():
            weight = model.get_input_embeddings().weight
            model.step(model.memory(weight, len(ids_BL)), ids_BL)

    def _autocast(self) -> torch.autocast:
        """Casts what matmuls read, where the precision is a mixed one."""
        dtype = DTYPES[self.casts.arithmetic]
        mixed = self.casts.autocast
        return torch.autocast(self.point.device, dtype if mixed else None, enabled=mixed)

    def _forward(self) -> None:
        point, model = self.point, self.model
        if not point.model.decoder:
            model(input_ids=self.ids_BN)
        elif point.method == "rmt":
            model.infer(self.ids_BN, compile_step=point.compile_step, cuda_graph=point.cuda_graph)
        else:
            keep = {"logits_to_keep": 1} if point.logits == "last" else {}
            model(input_ids=self.ids_BN, use_cache=False, **keep)

    def _backward(self) -> None:
        point, model = self.point, self.model
        by_window = point.bptt_segments is not None and not point.capture
        if point.method == "rmt" and point.model.decoder and by_window:
            with self._autocast():
                for loss in model.window_losses(self.ids_BN, labels=self.labels):
                    loss.backward()
                    del loss
            return
        more: dict[str, Any] = {}
        if point.model.decoder:
            more = {"use_cache": False} if point.method == "full" else {"keep_logits": "none"}
        with self.reading() as given:
            with self._autocast():
                output = model(given.pop("input_ids"), **given, **more)
            output.loss.backward()  # the caller holds the logits meanwhile, as callers do

    def reading(self) -> AbstractContextManager[dict[str, Any]]:
        """Yields what the model reads in a training step, cut by position where ranks share it."""
        if self.context is not None:
            return self.context.cut(self.ids_BN)
        return nullcontext({"input_ids": self.ids_BN, "labels": self.labels})


def warm_libraries(point: Point) -> None:
    """Runs a step of a very small model of the same kind, so that the libraries are loaded.

    On a CPU that is resident memory like any other, tens of MiB of it, and none of the model's.
    """
    tokens = min(point.tokens, 16)
    small = _one_layer(point.model)
    alone: dict[str, Any] = {}
    if point.layout is not None:
        alone = {"layout": None, "batch_size": point.layout.micro_batch}
    size = None
    if point.memory_tokens is not None:
        size = min(point.segment_size or 0, 2 * point.memory_tokens + ENCODER_SPECIAL_TOKENS + 8)
    point = replace(point, model=small, tokens=tokens, segment_size=size)
    Subject(replace(point, compile_step=False, checkpoint=None, **alone)).step()


def _one_layer(model: ModelSpec) -> ModelSpec:
    words = min(model.vocabulary, 256)
    if not isinstance(model, LayeredSpec):
        return replace(model, layers=1, vocabulary=words)
    config = json.loads(model.config)
    text = text_part(config)
    few = {key: text[key][:1] for key in ("layer_types", "mlp_layer_types") if text.get(key)}
    return from_config({**text, "num_hidden_layers": 1, "vocab_size": words, **few}, model.name)


def _build(point: Point) -> nn.Module:
    backbone = _backbone(point)
    if point.method == "full":
        if _recomputes(point):
            _checkpoint_layers(backbone)
        if point.adapter is not None:
            backbone = with_adapter(backbone, point.adapter, point.model).to(point.device)
            if point.checkpoint_layers:
                _inputs_want_gradients(backbone)
        return backbone
    from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification

    parallel = point.adapter if point.adapter is not None and not point.adapter.lora else None
    special: dict[str, Any] = {}
    if not point.model.decoder:  # any ids will do: the cost does not depend on them
        special = {"cls_token_id": 0, "sep_token_id": 0}
    config = RMTConfig(
        point.segment_size or 0,
        point.memory_tokens or 0,
        bptt_segments=point.bptt_segments,
        checkpoint_segments=point.checkpoint_segments,
        state_by_state=point.layout is not None and point.layout.state_by_state,
        adapter_width=None if parallel is None else parallel.rank,
        adapter_scale=1.0,
        **special,
    )
    wrap: Any = RMTForCausalLM if point.model.decoder else RMTForSequenceClassification
    if parallel is not None:  # the RMT puts them on itself
        backbone.requires_grad_(False)
    elif point.adapter is not None:
        backbone = with_adapter(backbone, point.adapter, point.model)
    model: nn.Module = wrap(backbone, config)
    if _recomputes(point):
        _checkpoint_layers(backbone)
    return model.to(point.device)


def _recomputes(point: Point) -> bool:
    """Whether each layer is one checkpoint."""
    by_layout = point.layout is not None and point.layout.recompute == "full"
    return point.checkpoint_layers or by_layout


def _backbone(point: Point) -> nn.Module:
    if isinstance(point.model, LayeredSpec) and point.checkpoint is None:
        return _layered_backbone(point, point.model)
    if point.checkpoint is None:
        return build_backbone(
            point.built_model,
            attention=point.attention,
            device=point.device,
            dropout=None if point.dropout else False,
            dtype=DTYPES[find_precision(point.precision).weights],
        )
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
    )

    from rmtscale.specs.huggingface import to_config

    spec = point.model if point.dropout else point.model.without_dropout()
    auto: Any = AutoModelForCausalLM
    if spec.head == "classification":
        auto = AutoModelForSequenceClassification
    try:
        model: nn.Module = auto.from_pretrained(
            point.checkpoint,
            config=AutoConfig.for_model(**to_config(spec)),
            attn_implementation=point.attention,
            dtype=DTYPES[find_precision(point.precision).weights],
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"checkpoint {point.checkpoint!r}: {reason_of(error, 300)}") from error
    return model.to(point.device)


def _layered_backbone(point: Point, spec: LayeredSpec) -> nn.Module:
    """Returns the module of a model given layer by layer, built of the config it was read from."""
    config = json.loads(spec.config)
    module = real_module(
        text_part(config),
        class_of_config(config, spec.name),
        spec.name,
        attention=point.attention,
        experts_by=None,
        device=point.device,
        dtype=DTYPES[find_precision(point.precision).weights],
    )
    if not point.dropout:
        without_dropout(module)
    return module


def _inputs_want_gradients(module: Any) -> None:
    """With the first layers frozen and checkpointed nothing else would lead to the adapters."""
    module.enable_input_require_grads()


def _checkpoint_layers(module: Any) -> None:
    # The newer of the two names came with Transformers 5.2x, the older goes in 6.
    enable: Callable[[], None] | None = getattr(module, "activation_checkpointing_enable", None)
    (enable or module.gradient_checkpointing_enable)()
