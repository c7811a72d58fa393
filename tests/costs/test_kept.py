"""What an inference keeps, beside the caches of the real modules, number by number."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("transformers")
import torch

from rmtscale.costs.kept import cache_numbers, recurrent_state_numbers
from rmtscale.profiler.real_module import module_inputs, real_module, values_of_meta
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import read
from rmtscale.specs.rows.catalog import ROWS
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

TOKENS = 40
UNASKED = ("rwkv", "recurrent_gemma")
"""One cannot run with a state on ``meta``, and one keeps it in the modules themselves."""
SAME = ("llama", "gpt2", "qwen2", "mixtral", "bloom")
"""Of the types that keep keys and values of every token, a few are enough."""


def decoders() -> list[str]:
    """Types whose layers keep anything else, and a few of the others."""
    found = []
    for kind in ROWS:
        spec = read(TINY[kind], "tiny", class_name(kind)).spec
        if not isinstance(spec, LayeredSpec) or not spec.decoder or spec.encoder_groups:
            continue
        plain = 2 * TOKENS * spec.layers * spec.kv_width
        odd = spec.windows - {0} or cache_numbers(spec, TOKENS) != plain
        if kind in SAME or odd or recurrent_state_numbers(spec):
            found.append(kind)
    return [kind for kind in found if kind not in UNASKED]


def tensors(held: Any) -> dict[int, torch.Tensor]:
    """All tensors of floating-point numbers that something holds, each once."""
    if isinstance(held, torch.Tensor):
        return {id(held): held} if held.is_floating_point() else {}
    parts: Any = ()
    if isinstance(held, list | tuple):
        parts = held
    elif isinstance(held, dict):
        parts = held.values()
    elif "cache" in type(held).__module__:
        parts = vars(held).values()
    return {key: one for part in parts for key, one in tensors(part).items()}


@pytest.mark.parametrize("kind", decoders())
def test_a_cache_holds_what_is_said(kind: str) -> None:
    module: Any = real_module(TINY[kind], class_name(kind), "tiny")
    inputs = module_inputs(module, 2, TOKENS) | {"use_cache": True}
    with RememberedShapes(), values_of_meta(), torch.no_grad():
        outputs = module(**inputs)
    cache = getattr(outputs, "past_key_values", None)
    if cache is None:
        cache = outputs.cache_params
    held = sum(one.numel() for one in tensors(cache).values())
    spec = read(TINY[kind], "tiny", class_name(kind)).spec
    assert held == 2 * (cache_numbers(spec, TOKENS) + recurrent_state_numbers(spec))


def test_states_that_the_modules_themselves_keep() -> None:
    """RWKV's five vectors; RecurrentGemma's state and the tokens before its convolution."""
    states = {kind: recurrent_state_numbers(read(TINY[kind], "tiny").spec) for kind in UNASKED}
    rwkv, gemma = TINY["rwkv"], TINY["recurrent_gemma"]
    assert states["rwkv"] == 5 * rwkv["attention_hidden_size"] * rwkv["num_hidden_layers"]
    convolved = 4 - 1  # its convolution looks at four tokens; two of its three layers are recurrent
    assert states["recurrent_gemma"] == 2 * gemma["lru_width"] * (1 + convolved)
