"""Generation against the real modules: FLOPs as integers, memory against the tensors held.

On ``meta``, with a real cache: prefill and every step of decoding, by full attention (Hugging
Face's modules) and by the package's own RMT, which rolls over into a new segment. On the CPU, one
whole ``generate`` of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, EncoderDecoderCache

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.generation_runs import Generation, generation_runs
from rmtscale.costs.parameters import count_parameters
from rmtscale.errors import BadInput
from rmtscale.profiler.real_module import (
    matmul_flops,
    module_inputs,
    real_module,
    values_of_meta,
)
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.build import build_backbone
from rmtscale.rmt.open_segment import OpenSegment
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import read_mapping, to_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Workload
from tests.grids import covering
from tests.meta_shapes import RememberedShapes
from tests.specs.tiny_configs import TINY

H100 = find_device("h100-sxm")
KINDS = ["gpt2", "opt-125m", "opt-350m", "pythia-14m", "gpt-neo-125m", "llama-3-8b"]


def counted(run: Callable[[], object]) -> int:
    with RememberedShapes(), FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return sum(matmul_flops(counter).values())


def held_bytes(cache: DynamicCache) -> int:
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def meta_ids(batch: int, tokens: int) -> torch.Tensor:
    return torch.zeros(batch, tokens, dtype=torch.long, device="meta")


@pytest.mark.parametrize(("name", "chunk"), covering(KINDS, [None, 5]))
def test_full_attention_with_a_cache(tiny: Any, name: str, chunk: int | None) -> None:
    model: ModelSpec = tiny(name)
    generation = Generation(
        context_tokens=13, new_tokens=6, batch_size=2, dtype="fp32", prefill_chunk=chunk
    )
    module: Any = build_backbone(model, dropout=False).eval()
    cache = DynamicCache(config=module.config)

    def read(tokens: int) -> None:
        seen = cache.get_seq_length() + tokens
        module(
            input_ids=meta_ids(2, tokens),
            attention_mask=meta_ids(2, seen) + 1,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )

    cost = estimate_generation(model, generation, H100)
    pieces = [13] if chunk is None else [5, 5, 3]
    found = [counted(partial(read, tokens)) for tokens in pieces]
    assert cost.prefill.flops == sum(found)
    assert cost.decode.flops == sum(counted(lambda: read(1)) for _ in range(5))
    assert cost.cache_bytes == held_bytes(cache)
    weights = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    assert cost.weight_bytes == weights
    assert cost.state_bytes == 0


@pytest.mark.parametrize(
    ("name", "memory", "context"),
    [(name, 3, 20) for name in KINDS] + covering(["llama-3-8b"], (0, 3), (3, 8, 9)),
)
def test_an_rmt_that_rolls_over(tiny: Any, name: str, memory: int, context: int) -> None:
    """Prompts that end inside, at the end of and behind a segment; 8 tokens of text in each."""
    model: ModelSpec = tiny(name)
    recurrence = Recurrence(8 + 2 * memory, memory)
    generation = Generation(context_tokens=context, new_tokens=12, batch_size=2, dtype="fp32")
    module = build_backbone(model, dropout=False)
    rmt: Any = RMTForCausalLM(module, RMTConfig(recurrence.segment_size, memory)).eval()
    state = rmt.memory(rmt.embedding_VE, 2)
    most = 0
    segment: OpenSegment

    def prefill() -> OpenSegment:
        new = state
        for _ in range((context - 1) // 8):
            new, _ = rmt.step(new, meta_ids(2, 8))
        segment = OpenSegment(rmt, new)
        segment.read(meta_ids(2, (context - 1) % 8 + 1))
        return segment

    def past(segment: OpenSegment) -> Any:
        reader: Any = segment.reader
        return reader.past

    def step() -> None:
        nonlocal segment, most
        if segment.tokens == 8:
            closed = segment
            segment = OpenSegment(rmt, closed.close())
            most = max(most, held_bytes(past(closed)))
        segment.read(meta_ids(2, 1))
        most = max(most, held_bytes(past(segment)))

    cost = estimate_generation(model, generation, H100, recurrence)
    segment = prefill()
    assert cost.prefill.flops == counted(prefill)
    assert cost.decode.flops == sum(counted(step) for _ in range(11))
    assert cost.cache_bytes == most
    assert cost.state_bytes == state.numel() * state.element_size()
    weights = sum(weight.numel() * weight.element_size() for weight in rmt.parameters())
    assert cost.weight_bytes == weights


@pytest.mark.parametrize("recurrence", [None, Recurrence(14, 3)])
def test_a_whole_generate(tiny: Any, recurrence: Recurrence | None) -> None:
    model: ModelSpec = tiny("llama-3-8b")
    module: Any = build_backbone(model, dropout=False, device="cpu").eval()
    if recurrence is not None:
        module = RMTForCausalLM(module, RMTConfig(recurrence.segment_size, 3)).eval()
    ids = torch.randint(1, 100, (2, 21))
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = counted(lambda: module.generate(ids, **options))
    generation = Generation(context_tokens=21, new_tokens=12, batch_size=2)
    cost = estimate_generation(model, generation, H100, recurrence)
    assert cost.prefill.flops + cost.decode.flops == found


@given(
    context=st.integers(1, 60),
    new=st.integers(1, 60),
    text=st.integers(1, 20),
    memory=st.integers(0, 4),
)
@settings(max_examples=150)
def test_runs_are_those_of_a_loop(context: int, new: int, text: int, memory: int) -> None:
    """Token by token: when a segment is full, its memory is read and the next one opens."""
    model, recurrence = PRESETS["llama-3-8b"], Recurrence(text + 2 * memory, memory)
    generation = Generation(context_tokens=context, new_tokens=new)
    expected: dict[tuple[int, int, int], int] = {}

    def add(rows: int, keys: int, logits: int) -> None:
        if rows:
            expected[rows, keys, logits] = expected.get((rows, keys, logits), 0) + 1

    filled = (context - 1) % text + 1
    most = memory + filled
    for _ in range(new - 1):
        start = 0
        if filled == text:
            add(memory, text + 2 * memory, 0)
            most = max(most, text + 2 * memory)
            filled, start = 0, memory
        filled += 1
        add(1 + start, memory + filled, 1)
        most = max(most, memory + filled)
    found: dict[tuple[int, int, int], int] = {}
    for run in generation_runs(model, generation, recurrence)[1]:
        found[run[:3]] = found.get(run[:3], 0) + run.times
    assert found == expected
    cached = estimate_generation(model, generation, H100, recurrence).cache_bytes
    assert cached == most * 2 * model.layers * model.kv_width * 2  # keys and values in bf16


@given(tokens=st.integers(1, 5000), batch=st.integers(1, 9))
@settings(max_examples=40)
def test_prefill_is_a_forward_pass_with_the_last_logits(tokens: int, batch: int) -> None:
    model = PRESETS["llama-3-8b"]
    generation = Generation(context_tokens=tokens, new_tokens=1, batch_size=batch)
    cost = estimate_generation(model, generation, H100)
    work = Workload(tokens=tokens, batch_size=batch)
    head = 2 * batch * (tokens - 1) * model.vocabulary * model.width
    assert cost.prefill.flops == estimate_flops(model, work, None, "matmul").total - head
    assert cost.decode.flops == 0
    assert cost.tokens_per_second == 0.0


@pytest.mark.parametrize("name", KINDS)
def test_layer_by_layer_takes_as_long_as_the_plain_shape(name: str) -> None:
    """Of one family read twice, prompt and text have the same FLOPs and the same time for them."""
    spec = PRESETS[name]
    layered = read(to_config(spec), name).spec
    generation = Generation(context_tokens=200, new_tokens=9, batch_size=3)
    plain, other = (estimate_generation(one, generation, H100) for one in (spec, layered))
    for ours, theirs in ((plain.prefill, other.prefill), (plain.decode, other.decode)):
        assert ours.flops == theirs.flops
        assert ours.arithmetic_seconds == pytest.approx(theirs.arithmetic_seconds, rel=1e-12)


def test_by_hand() -> None:
    """One step of Llama 3 8B: all matrices once, eight times 2,001 keys and values."""
    model = PRESETS["llama-3-8b"]
    generation = Generation(context_tokens=2000, new_tokens=2, batch_size=8)
    cost = estimate_generation(model, generation, H100)
    keys_and_values = 8 * 2001 * 2 * 1024 * 32 * 2
    assert cost.cache_bytes == keys_and_values
    read = 2 * (count_parameters(model).total - 128256 * 4096) + keys_and_values
    assert cost.decode.moved_bytes == pytest.approx(read, rel=0.01)
    assert cost.decode.seconds == pytest.approx(read / 3.35e12, rel=0.02)
    assert cost.tokens_per_second == pytest.approx(8 / cost.decode.seconds)
    for kv_dtype, share in (("fp8", 0.5), ("fp32", 2.0)):
        other = estimate_generation(model, replace(generation, kv_dtype=kv_dtype), H100)
        assert other.cache_bytes == share * cost.cache_bytes
        assert other.decode.flops == cost.decode.flops


@pytest.mark.parametrize("recurrence", [None, Recurrence(512, 10)])
def test_the_largest_batch_is_the_last_that_fits(recurrence: Recurrence | None) -> None:
    model = PRESETS["llama-3-8b"]

    def cost(batch: int) -> Any:
        generation = Generation(context_tokens=8000, new_tokens=1000, batch_size=batch)
        return estimate_generation(model, generation, H100, recurrence)

    largest = cost(1).largest_batch
    assert largest is not None
    assert cost(largest).peak_bytes <= H100.usable_memory_bytes < cost(largest + 1).peak_bytes
    big = Generation(context_tokens=8, new_tokens=1)
    assert estimate_generation(PRESETS["opt-175b"], big, H100).largest_batch is None


@given(steps=st.integers(2, 400), more=st.integers(1, 400))
@settings(max_examples=30)
def test_time_is_at_least_both_roofs_and_grows(steps: int, more: int) -> None:
    model = PRESETS["llama-3.2-1b"]
    for recurrence in (None, Recurrence(128, 4)):
        short, long = (
            estimate_generation(
                model, Generation(context_tokens=1000, new_tokens=count), H100, recurrence
            )
            for count in (steps, steps + more)
        )
        for phase in (short.prefill, short.decode):
            assert phase.seconds >= max(phase.arithmetic_seconds, phase.bandwidth_seconds) * 0.9999
        assert long.decode.seconds > short.decode.seconds
        assert long.prefill == short.prefill


def test_refusals() -> None:
    ok: dict[str, Any] = {"context_tokens": 9, "new_tokens": 9}
    for wrong, message in (
        ({"new_tokens": 0}, "new tokens 0: expected a whole number of 1 or more"),
        ({"kv_dtype": "int4"}, "kv dtype 'int4': expected one of fp32, bf16, fp16, fp8, int8"),
        ({"dtype": "fp8"}, "dtype 'fp8': expected one of fp32, bf16, fp16"),
        ({"prefill_chunk": 0}, "prefill chunk 0: expected a whole number"),
    ):
        with pytest.raises(BadInput, match=message):
            Generation(**{**ok, **wrong})
    with pytest.raises(BadInput, match="expected a decoder, an encoder writes no text"):
        estimate_generation(PRESETS["bert-base-cased"], Generation(**ok), H100)
    with pytest.raises(BadInput, match="segment size 20: expected more than 20"):
        estimate_generation(PRESETS["gpt2"], Generation(**ok), H100, Recurrence(20, 10))


WRITERS = ["t5", "mt5", "bart", "whisper"]


@pytest.mark.parametrize("kind", WRITERS)
def test_writing_behind_an_encoder(kind: str) -> None:
    """The encoder once, then the decoder step by step, with both caches of the real module."""
    config, row = TINY[kind], ROWS[kind]
    name = f"{row.prefix}{row.default_class}"
    module: Any = real_module(config, name, "tiny")
    spec = read_mapping(config, "tiny").spec
    assert isinstance(spec, LayeredSpec)
    generation = Generation(context_tokens=21, new_tokens=6, batch_size=2, dtype="fp32")
    inputs = module_inputs(module, 2, 21)
    del inputs["decoder_input_ids"], inputs["use_cache"]
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    encoded: Any = None

    def read() -> None:
        nonlocal encoded
        with values_of_meta():
            encoded = module.get_encoder()(**inputs)
        write()

    def write() -> None:
        with values_of_meta():
            module(
                encoder_outputs=encoded,
                decoder_input_ids=meta_ids(2, 1),
                past_key_values=cache,
                use_cache=True,
            )

    cost = estimate_generation(spec, generation, H100)
    assert cost.prefill.flops == counted(read)
    assert cost.decode.flops == sum(counted(write) for _ in range(5))
    held = held_bytes(cache.self_attention_cache) + held_bytes(cache.cross_attention_cache)
    assert cost.cache_bytes == held
    weights = {id(item): item.nbytes for item in module.parameters()}
    assert cost.weight_bytes == sum(weights.values())
    assert cost.peak_bytes > cost.weight_bytes + cost.cache_bytes
    with pytest.raises(BadInput, match="it has an encoder, expected full attention"):
        estimate_generation(spec, generation, H100, Recurrence(16, 2))
