"""What writing text reads and writes, and how long that takes at least, operation by operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest

pytest.importorskip("transformers")
from torch import nn
from transformers.pytorch_utils import Conv1D

from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.generation_memory import generation_peak
from rmtscale.costs.generation_runs import Generation, Run
from rmtscale.costs.generation_runs import generation_runs as runs_of
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.parameters import count_parameters
from rmtscale.profiler.real_module import real_module
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.attention import Attention
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

H100 = find_device("h100-sxm")
BATCH, W = 3, 2
MODELS = ["gpt2", "opt-350m", "pythia-14m", "llama-3-8b"]
TYPES: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 7},
    "gemma2": {"sliding_window": 6},
    "olmo": {},
    "minicpm3": {},
}
RUNS = [(20, 9, None, None), (20, 9, 6, None), (5, 30, None, None), (33, 20, None, (14, 3))]
"""Tokens read and written, pieces of the prompt, and an RMT."""


class Took(NamedTuple):
    """One operation of one pass."""

    flops: int
    moved_bytes: int


def linear_layers(module: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Every matrix of a real module: name, inputs, outputs."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            yield name, part.in_features, part.out_features
        elif isinstance(part, Conv1D):
            yield name, part.nx, part.nf


def matrices(module: nn.Module, run: Run, joined: int) -> Iterator[Took]:
    """Each matrix by itself: all of it, what goes in, what comes out.

    ``joined`` numbers are subtracted where the estimate has query, key and value read at once.
    """
    for name, inner, outer in linear_layers(module):
        rows = BATCH * (run.logits if name.endswith(("lm_head", "embed_out")) else run.rows)
        inputs = inner * (not (joined and name.endswith(("k_proj", "v_proj"))))
        if rows:
            moved = inner * outer + rows * (inputs + outer)
            yield Took(2 * rows * inner * outer, W * moved)


def attention(run: Run, layers: Iterable[tuple[Any, ...]], kv_bytes: int) -> tuple[int, int, int]:
    """FLOPs, FLOPs of pairs that are seen, and bytes; query by query, key by key."""
    flops = seen = moved = 0
    for heads, kv_heads, key, value, window, kept in layers:
        pair = 2 * heads * (key + value)
        most = min(run.keys, window + run.rows - 1) if window else run.keys
        flops += BATCH * pair * run.rows * most
        for query in range(run.keys - run.rows, run.keys):
            seen += (
                BATCH
                * pair
                * sum(1 for at in range(query + 1) if not window or query - at < window)
            )
        moved += BATCH * run.rows * heads * (key + value) * W
        held = kept or kv_heads * (key + value)
        reads = min(most, window) if window else most
        writes = (min(run.rows, window) if window else run.rows) * run.cached
        moved += BATCH * held * (reads + writes) * (kv_bytes if run.cached else W)
    return flops, seen, moved


def check(
    model: ModelSpec, module: nn.Module, layers: list[tuple[Any, ...]], joined: int, kv: str | None
) -> None:
    peak, bandwidth = H100.flops_per_second("bf16"), H100.bandwidth_bytes_per_second
    for context, new, chunk, segments in RUNS:
        recurrence = Recurrence(*segments) if segments else None
        generation = Generation(
            context_tokens=context,
            new_tokens=new,
            batch_size=BATCH,
            prefill_chunk=chunk,
            kv_dtype=kv,
        )
        cost = estimate_generation(model, generation, H100, recurrence)
        both = zip((cost.prefill, cost.decode), runs_of(model, generation, recurrence), strict=True)
        for phase, runs in both:
            flops = seen = moved = 0
            least = 0.0
            for run in runs:
                took = list(matrices(module, run, joined))
                pairs, seen_pairs, held = attention(run, layers, generation.kv_bytes)
                flops += run.times * (sum(one.flops for one in took) + pairs)
                seen += run.times * (sum(one.flops for one in took) + seen_pairs)
                moved += run.times * (sum(one.moved_bytes for one in took) + held)
                each = sum(max(one.flops / peak, one.moved_bytes / bandwidth) for one in took)
                least += run.times * (each + max(seen_pairs / peak, held / bandwidth))
            assert (phase.flops, phase.moved_bytes) == (flops, moved), (context, chunk, segments)
            assert phase.arithmetic_seconds == pytest.approx(seen / peak, rel=1e-12)
            assert phase.bandwidth_seconds == pytest.approx(moved / bandwidth, rel=1e-12)
            assert phase.seconds == pytest.approx(least, rel=1e-3 if joined else 1e-9)


@pytest.mark.parametrize("kv", [None, "fp8"])
@pytest.mark.parametrize("name", MODELS)
def test_a_plain_shape(tiny: Any, name: str, kv: str | None) -> None:
    model: ModelSpec = tiny(name)
    heads, kv_heads, width = model.heads, model.kv_heads, model.head_width
    layers = [(heads, kv_heads, width, width, 0, 0)] * model.layers
    joined = 2 * model.width * (name not in ("gpt2", "pythia-14m"))
    check(model, build_backbone(model, dropout=False), layers, joined, kv)


@pytest.mark.parametrize("kind", TYPES)
def test_layer_by_layer(kind: str) -> None:
    config = TINY[kind] | TYPES[kind]
    model: Any = read(config, "tiny").spec
    layers = []
    for layer, count in model.groups:
        part = layer.mixer
        assert isinstance(part, Attention)
        kept = part.kv_rank and part.kv_rank + part.rope_width
        sizes = (part.heads, part.kv_heads, part.head_width, part.value, part.window, kept)
        layers += count * [sizes]
    check(model, real_module(config, class_name(kind), "tiny"), layers, 0, None)


def test_a_state_is_decayed_added_to_and_read() -> None:
    """One token of Mamba: its matrices, and every number of its state there and back."""
    config = TINY["mamba2"]
    model = read(config, "tiny").spec
    module = real_module(config, class_name("mamba2"), "tiny")
    one = Generation(context_tokens=4, new_tokens=2, batch_size=BATCH)
    cost = estimate_generation(model, one, H100)
    took = list(matrices(module, Run(1, 5, 1), 0))
    width, heads = config["head_dim"], config["num_heads"]
    convolved = width * heads + 2 * config["n_groups"] * config["state_size"]
    state = 2 * (width * heads * config["state_size"] + 4 * convolved)
    assert cost.decode.flops == sum(item.flops for item in took) + 6 * BATCH * state
    moved = sum(item.moved_bytes for item in took) + W * 2 * BATCH * state
    assert cost.decode.moved_bytes == moved
    assert cost.state_bytes == W * BATCH * state


def test_behind_an_encoder_every_matrix_is_read_where_it_is_used() -> None:
    """T5: the encoder, keys and values of its output, and one token of the decoder; then more."""
    config = TINY["t5"]
    module: Any = real_module(config, class_name("t5"), "tiny")
    generation = Generation(context_tokens=21, new_tokens=3, batch_size=BATCH)
    cost = estimate_generation(read(config, "tiny").spec, generation, H100)

    def moved(rows: int, parts: Iterable[tuple[str, int, int]]) -> int:
        return sum(W * (a * b + BATCH * rows * (a + b)) for _, a, b in parts)

    every = list(linear_layers(module))
    encoder = [one for one in every if one[0].startswith("encoder.")]
    over = [
        one for one in every if ".EncDecAttention.k" in one[0] or ".EncDecAttention.v" in one[0]
    ]
    step = [one for one in every if one not in encoder and one not in over]
    query = config["num_heads"] * config["d_kv"]
    token = W * BATCH * 2 * query  # a query and an output, or a key and a value
    assert len(over) == 2 * config["num_decoder_layers"]
    prefill = moved(21, [*encoder, *over]) + moved(1, step)
    # The encoder reads its keys and values; a token writes its own, reads them, and the encoder's.
    prefill += config["num_layers"] * token * (21 + 21)
    prefill += config["num_decoder_layers"] * token * (1 + (1 + 1) + 1 + 21)
    assert cost.prefill.moved_bytes == prefill
    decode = 2 * moved(1, step)
    decode += config["num_decoder_layers"] * token * (2 * (1 + 1 + 1 + 21) + 2 + 3)
    assert cost.decode.moved_bytes == decode


@pytest.mark.parametrize("segments", [None, (64, 4)])
def test_a_peak_is_reading_or_writing(segments: tuple[int, int] | None) -> None:
    """Term by term, where little is read and much written, and where it is the other way."""
    model = PRESETS["llama-3-8b"]
    recurrence = Recurrence(*segments) if segments else None
    memory = 4 * model.width if segments else 0
    weights = W * (count_parameters(model).total + memory)
    token = BATCH * W * 2 * model.layers * model.kv_width
    for context, new, most in ((50, 900, 64), (5000, 2, 5000)):
        generation = Generation(context_tokens=context, new_tokens=new, batch_size=BATCH)
        peak = generation_peak(model, generation, H100, recurrence)
        found = peak.by_name()
        work = Workload(tokens=context, batch_size=BATCH)
        read_once = estimate_memory(model, work, recurrence, H100, cuda_graph=False).by_name()
        workspace = read_once["persistent.library_workspace"]
        writing = {
            "persistent.weights": weights,
            "persistent.library_workspace": workspace,
            "persistent.keys_and_values": token * (most if segments else context + new - 1),
            "persistent.logits_and_loss": BATCH * W * model.vocabulary,
        }
        if segments:
            writing["persistent.recurrent_state"] = BATCH * W * memory
            writing["persistent.keys_and_values"] = token * (64 if new > 60 else 4 + 5000 % 56 + 1)
        reading = dict(read_once)
        held = context if not segments else 4 + (context - 1) % 56 + 1
        reading["persistent.keys_and_values"] = token * held
        larger = max((reading, writing), key=lambda one: sum(one.values()))
        assert found == larger
        words = "at the last token" if larger is writing else "while the prompt is read"
        assert peak.peak_at == words
