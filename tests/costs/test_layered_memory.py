"""The upper bound of memory holds on the real modules, and is not beyond all measure.

The yardstick is ``oracle_memory``: the module on ``meta``, with every live storage counted.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from rmtscale.costs.memory import estimate_memory
from rmtscale.profiler.real_module import module_inputs, real_module, values_of_meta
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Workload
from tests.costs.oracle_memory import LiveBytes
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import class_name
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


@pytest.mark.parametrize("train", [False, True], ids=["forward", "train"])
@pytest.mark.parametrize("kind", ROWS if THOROUGH else SOME)
def test_no_module_takes_more(kind: str, train: bool) -> None:
    spec = read(TINY[kind], "tiny", class_name(kind)).spec
    work = Workload(
        tokens=TOKENS,
        batch_size=2,
        mode="train" if train else "forward",
        attention="eager",
        optimizer="none",
        logits="all",
    )
    bound = estimate_memory(spec, work)
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
