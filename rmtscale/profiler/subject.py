"""The subject of a measurement: the real module of a point, its input, and one step of it.

Shapes: B batch, N text tokens of the input, L text tokens of a segment.

``full`` is Hugging Face's module with its own loss (``labels=input_ids``), without a cache; it
holds its output, logits included, until the backward pass is over. ``rmt`` is ``rmtscale.rmt``:
in training the loss is summed segment by segment, with truncated BPTT the backward pass of a
window runs before the next window; inference is ``infer``, which keeps no logits but the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rmtscale.errors import BadInput
from rmtscale.records.point import Point
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.recurrence import ENCODER_SPECIAL_TOKENS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SEED = 0


class Subject:
    """The model of a point, on its device, and one step of it.

    Raises:
        BadInput: a checkpoint that is not there or is of another shape.
    """

    def __init__(self, point: Point) -> None:
        self.point = point
        torch.manual_seed(_SEED)
        self.model: Any = _build(point)
        self.model.train(point.mode == "train")
        spec = point.model
        self.ids_BN = torch.randint(
            spec.vocabulary, (point.batch_size, point.tokens), device=point.device
        )
        self.labels = self.ids_BN
        if spec.head == "classification":
            self.labels = torch.zeros(point.batch_size, dtype=torch.long, device=point.device)
        self._optimizer = _optimizer(point, self.model)

    def step(self) -> None:
        """Runs one forward pass, or one whole training step; gradients are freed at its end."""
        if self.point.mode == "forward":
            with torch.inference_mode():
                self._forward()
            return
        self._backward()
        if self._optimizer is not None:
            self._optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def one_pass(self) -> None:
        """Runs the backbone once, as a step runs it: what is looked at for the attention kernel."""
        if self.point.method == "full":
            self.step()
            return
        model = self.model
        ids_BL = self.ids_BN[:, -model.segment_tokens :]
        with torch.inference_mode(self.point.mode == "forward"):
            weight = model.get_input_embeddings().weight
            model.step(model.memory(weight, len(ids_BL)), ids_BL)

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
        if not point.model.decoder:
            output = model(input_ids=self.ids_BN, labels=self.labels)
            output.loss.backward()
        elif point.method == "full":
            output = model(input_ids=self.ids_BN, labels=self.labels, use_cache=False)
            output.loss.backward()  # the caller holds the logits meanwhile, as callers do
        elif point.bptt_segments is not None:
            for loss in model.window_losses(self.ids_BN, labels=self.labels):
                loss.backward()
                del loss
        else:
            model(self.ids_BN, labels=self.labels, keep_logits="none").loss.backward()


def warm_libraries(point: Point) -> None:
    """Runs a step of a very small model of the same kind, so that the libraries are loaded.

    On a CPU that is resident memory like any other, tens of MiB of it, and none of the model's.
    """
    tokens = min(point.tokens, 16)
    small = replace(point.model, layers=1, vocabulary=min(point.model.vocabulary, 256))
    size = None
    if point.memory_tokens is not None:
        size = min(point.segment_size or 0, 2 * point.memory_tokens + ENCODER_SPECIAL_TOKENS + 8)
    point = replace(point, model=small, tokens=tokens, segment_size=size)
    Subject(replace(point, compile_step=False, checkpoint=None)).step()


def _build(point: Point) -> nn.Module:
    backbone = _backbone(point)
    if point.method == "full":
        if point.checkpoint_layers:
            _checkpoint_layers(backbone)
        return backbone
    from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification

    special: dict[str, Any] = {}
    if not point.model.decoder:  # any ids will do: the cost does not depend on them
        special = {"cls_token_id": 0, "sep_token_id": 0}
    config = RMTConfig(
        point.segment_size or 0,
        point.memory_tokens or 0,
        bptt_segments=point.bptt_segments,
        checkpoint_segments=point.checkpoint_segments,
        **special,
    )
    wrap: Any = RMTForCausalLM if point.model.decoder else RMTForSequenceClassification
    model: nn.Module = wrap(backbone, config)
    if point.checkpoint_layers:
        _checkpoint_layers(backbone)
    return model.to(point.device)


def _backbone(point: Point) -> nn.Module:
    if point.checkpoint is None:
        return build_backbone(
            point.built_model,
            attention=point.attention,
            device=point.device,
            dropout=None if point.dropout else False,
            dtype=DTYPES[point.dtype],
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
            dtype=DTYPES[point.dtype],
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"checkpoint {point.checkpoint!r}: {first}") from error
    return model.to(point.device)


def _checkpoint_layers(module: Any) -> None:
    # The newer of the two names came with Transformers 5.2x, the older goes in 6.
    enable: Callable[[], None] | None = getattr(module, "activation_checkpointing_enable", None)
    (enable or module.gradient_checkpointing_enable)()


def _optimizer(point: Point, model: nn.Module) -> torch.optim.Optimizer | None:
    if point.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=1e-6)
    if point.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=1e-6)
    if point.optimizer == "adamw-fused":
        return torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    return None
