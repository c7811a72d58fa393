"""Memory of types with a row: known to the byte where a test says so, else an upper bound.

The yardstick is ``oracle_memory``: the module on ``meta``, with every live storage counted. A bound
holds on the real modules, and is not beyond all measure.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn
from transformers.integrations import moe

from rmtscale.costs.memory import estimate_memory
from rmtscale.profiler.real_module import (
    module_inputs,
    real_module,
    values_of_meta,
    without_dropout,
)
from rmtscale.specs.current import PRESETS
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Workload
from tests.costs.oracle_memory import DTYPES, LiveBytes, measure_step
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import NO_HEAD, class_name
from tests.specs.tiny_configs import TINY

THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
SOME = (
    *("qwen3", "gemma2", "mixtral", "deepseek_v3", "gpt_oss", "roberta", "t5", "mamba", "mamba2"),
    *("qwen3_next", "jamba", "rwkv", "falcon", "modernbert", "gemma4_text", "whisper"),
)
TOKENS = 60


def measured(kind: str, *, train: bool) -> int:
    """Bytes alive at the peak of a pass, or of a step without an optimizer."""
    module: Any = real_module(TINY[kind], class_name(kind), "tiny")
    module.train(train).requires_grad_(train)
    live = LiveBytes()
    for weights in module.parameters():
        live.track(weights)
    inputs = module_inputs(module, 2, TOKENS)
    with RememberedShapes(), values_of_meta(), live, torch.set_grad_enabled(train):
        outputs = module(**inputs)
        if train:
            logits = getattr(outputs, "logits", outputs[0])
            loss = torch.log_softmax(logits.float(), -1).sum()
            live.backward(loss)
    return live.peak


def gathered(spec: Any) -> int:
    """Bytes of the experts' weights that ``batched_mm`` copies for every token.

    It is the one implementation that runs without values; the others copy none.
    """
    numbers = 0
    for layer, count in spec.groups:
        block = layer.feed_forward
        if block.experts and not block.all_multiplied:
            width = block.latent or spec.width
            numbers += count * block.active * (2 + block.gated) * width * block.inner
    return 2 * 2 * TOKENS * numbers * 4


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        (kind, train)
        for number, kind in enumerate(ROWS if THOROUGH else SOME)
        for train in (False, True)
        if THOROUGH or number % 2 == train
    ],
)
def test_no_module_takes_more(kind: str, train: bool) -> None:
    spec = read(TINY[kind], "tiny", class_name(kind)).spec
    assert isinstance(spec, LayeredSpec)
    work = Workload(
        tokens=TOKENS,
        batch_size=2,
        mode="train" if train else "forward",
        attention="eager",
        optimizer="none",
        logits="all",
    )
    bound = estimate_memory(replace(spec, written_like="", kind="unknown"), work)
    assert not bound.confirmed
    peak = measured(kind, train=train)
    assert peak <= bound.total + gathered(spec)
    assert bound.total <= 30 * peak


def test_checkpoints_and_segments_lower_it() -> None:
    spec = read(TINY["qwen3"], "tiny").spec
    work = Workload(tokens=4096, mode="train")
    plain = estimate_memory(spec, work).total
    layers = estimate_memory(spec, Workload(tokens=4096, mode="train", checkpoint_layers=True))
    segments = Workload(tokens=4096, mode="train", checkpoint_segments=True)
    assert layers.total < plain
    assert estimate_memory(spec, segments, Recurrence(128, 4)).total < layers.total


TOLERANCE = 0.03
KNOWN = sorted(kind for kind, row in ROWS.items() if row.written_like)
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 208,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 4,
}
STEPS: list[dict[str, Any]] = [
    {"mode": "forward"},
    {"mode": "train"},
    {"mode": "train", "checkpoint_layers": True, "optimizer": "sgd"},
]
KERNELS = [("eager", "fp32"), ("sdpa", "bf16"), ("sdpa", "fp32"), ("eager", "bf16")]
QUICK = ("qwen3", "phi3", "mistral", "mixtral", "qwen3_moe")
SIZES = [(64, 4000), (512, 100)]
"""Tokens and vocabulary: so that each moment of a step is the peak somewhere."""


def small(kind: str, **changes: Any) -> tuple[dict[str, Any], str]:
    """A small config of a type, and the class that it is built with."""
    config = {**TINY[kind], **SHAPE, **changes}
    config.pop("layer_types", None)
    name = f"{ROWS[kind].prefix}ForCausalLM"
    return config, name if kind not in NO_HEAD else class_name(kind)


def _grouped(tokens: torch.Tensor, *_: Any) -> bool:
    """On ``meta`` the grouped matmul takes 16 bits only; the form in its place keeps the same."""
    return tokens.dtype == torch.bfloat16


def step_of(
    config: dict[str, Any], name: str, work: Workload, recurrence: Recurrence | None = None
) -> tuple[LayeredSpec, int]:
    """The shape of a config, and the bytes that a step of its real module has at its peak."""

    def built(spec: ModelSpec, workload: Workload) -> nn.Module:
        del spec
        module: Any = real_module(
            config,
            name,
            "small",
            attention=workload.attention,
            experts_by=None,
            dtype=DTYPES[workload.dtype],
        )
        if workload.checkpoint_layers:
            module.gradient_checkpointing_enable({"use_reentrant": False})
        module.train(workload.train)
        without_dropout(module)
        made: nn.Module = module
        return made

    spec = read_mapping(config, "small").spec
    assert isinstance(spec, LayeredSpec)
    with RememberedShapes(), values_of_meta(), patch.object(moe, "_can_use_grouped_mm", _grouped):
        return spec, measure_step(spec, work, recurrence, built=built).peak


@pytest.mark.parametrize(
    ("kind", "step", "kernel", "size"),
    [
        (kind, step, kernel, size)
        for kind in KNOWN
        if kind not in NO_HEAD
        for at, step in enumerate(STEPS)
        for column, kernel in enumerate(KERNELS)
        for row, size in enumerate(SIZES)
        if THOROUGH or (kind in QUICK and (at + column + 4 * row + 3 * QUICK.index(kind)) % 8 < 1)
    ],
)
def test_known_types_take_what_is_said(
    kind: str, step: dict[str, Any], kernel: tuple[str, str], size: tuple[int, int]
) -> None:
    attention, dtype = kernel
    tokens, vocabulary = size
    config, name = small(kind, vocab_size=vocabulary)
    if "sliding_window" in config:
        config["sliding_window"] = 600
    work = Workload(
        tokens=tokens, batch_size=2, attention=attention, precision=dtype, dropout=False, **step
    )
    spec, peak = step_of(config, name, work)
    predicted = estimate_memory(spec, work)
    assert predicted.confirmed
    assert predicted.total == pytest.approx(peak, rel=TOLERANCE), predicted.by_name()


@pytest.mark.parametrize("name", ["qwen3-8b", "mixtral-8x7b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("step", STEPS[:2], ids=["forward", "train"])
def test_presets_at_their_true_width(name: str, step: dict[str, Any]) -> None:
    """Two layers of the released model, 4,096 tokens in 16 bits."""
    config = {**PRESETS[name].config, "num_hidden_layers": 2}
    work = Workload(tokens=4096, precision="bf16", logits="last", **step)
    spec, peak = step_of(config, f"{ROWS[config['model_type']].prefix}ForCausalLM", work)
    predicted = estimate_memory(spec, work)
    assert predicted.confirmed
    assert predicted.total == pytest.approx(peak, rel=0.01)


def test_layers_that_differ_are_not_known() -> None:
    config, _ = small("qwen3_moe", mlp_only_layers=[1])
    spec = read_mapping(config, "small").spec
    assert not estimate_memory(spec, Workload(tokens=64)).confirmed


def test_a_mask_is_not_known() -> None:
    """A fused kernel that is given a mask for its window has a bound."""
    config, _ = small("mistral", sliding_window=100)
    spec = read_mapping(config, "small").spec
    for tokens, attention, known in ((100, "sdpa", 1), (101, "sdpa", 0), (500, "eager", 1)):
        work = Workload(tokens=tokens, attention=attention)
        assert estimate_memory(spec, work).confirmed == known
    long = Workload(tokens=5000)
    assert estimate_memory(spec, long, Recurrence(100, 4)).confirmed
    assert not estimate_memory(spec, long, Recurrence(128, 4)).confirmed


SEGMENTED: list[dict[str, Any]] = [
    {"mode": "forward"},
    {"mode": "train"},
    {"mode": "train", "checkpoint_segments": True},
    {"mode": "train", "checkpoint_layers": True},
    {"mode": "train", "bptt_segments": 2},
]


@pytest.mark.parametrize(
    ("kind", "step", "setting"),
    [
        (kind, step, setting)
        for kind in QUICK
        for at, step in enumerate(SEGMENTED)
        for setting in range(2)
        if THOROUGH or (at + 3 * setting + 2 * QUICK.index(kind)) % 8 == 0
    ],
)
def test_an_rmt_around_known_types(kind: str, step: dict[str, Any], setting: int) -> None:
    """The package's own RMT, from 380 and 800 tokens of text in segments of 122."""
    tokens, vocabulary, attention = ((380, 2000, "sdpa"), (800, 300, "eager"))[setting]
    config, name = small(kind, vocab_size=vocabulary, num_hidden_layers=2)
    if "sliding_window" in config:
        config["sliding_window"] = 600
    work = Workload(
        tokens=tokens, batch_size=2, attention=attention, precision="bf16", dropout=False, **step
    )
    recurrence = Recurrence(128, 3)
    spec, peak = step_of(config, name, work, recurrence)
    predicted = estimate_memory(spec, work, recurrence)
    assert predicted.confirmed
    assert predicted.total == pytest.approx(peak, rel=TOLERANCE), predicted.by_name()
