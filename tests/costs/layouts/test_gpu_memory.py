"""Memory of one GPU, against what FSDP2 and tensor parallelism hold on a rank of a fake group."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from rmtscale.costs.layouts.memory import GpuTerm, gpu_memory
from rmtscale.costs.layouts.rank_weights import rank_weights
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layout import Layout, parse_layout
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs.layouts.oracle_sharded import (
    OneGraph,
    SegmentStep,
    mesh_of,
    shard,
    state_by_state,
    tensor_parallel,
    world,
)

THOROUGH = "RMTSCALE_THOROUGH" in os.environ
ROWS, SEGMENT, MEMORY = 2, 20, 2
TEXT = SEGMENT - 2 * MEMORY


class Case(NamedTuple):
    kind: str
    ranks: int
    way: str
    tokens: int


FEW = [
    Case("llama", 8, "full", 256),
    Case("gpt2", 8, "rmt", 48),
    Case("gpt2", 8, "states", 48),
]
EVERY = [
    Case(kind, ranks, way, tokens)
    for kind in ("gpt2", "llama")
    for ranks in (2, 8)
    for way, tokens in (
        ("full", 64), ("full checkpoints", 64), ("rmt", 64), ("rmt checkpoints", 64),
        ("states", 64), ("states", 160),
    )
]  # fmt: skip


def _config(kind: str) -> Any:
    if kind == "gpt2":
        return GPT2Config(
            n_layer=8, n_embd=256, n_head=8, vocab_size=64, n_positions=64, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    return LlamaConfig(
        hidden_size=256, intermediate_size=640, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=8, vocab_size=512, tie_word_embeddings=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "case", EVERY if THOROUGH else FEW, ids=lambda case: "-".join(map(str, case))
)
def test_the_peak_is_what_the_tensors_hold(case: Case) -> None:
    recurrence = None if case.way.startswith("full") else Recurrence(SEGMENT, MEMORY)
    layout = Layout(
        dp=case.ranks,
        zero=3,
        micro_batch=ROWS,
        recompute="full" if case.way.endswith("checkpoints") else "none",
        state_by_state=case.way == "states",
    )
    work = Workload(
        tokens=case.tokens, batch_size=ROWS * case.ranks, mode="train", precision="fp32"
    )
    config = _config(case.kind)
    predicted = gpu_memory(from_config(config.to_dict()), work, layout, recurrence)
    assert predicted.total == pytest.approx(_held(config, case), rel=0.04)


def _held(config: Any, case: Case) -> int:
    """Bytes at the peak of two training steps, as torch's tracker adds them up."""
    with warnings.catch_warnings(), world(case.ranks):
        warnings.simplefilter("ignore")
        module: Any = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        if case.way.endswith("checkpoints"):
            module.gradient_checkpointing_enable({"use_reentrant": False})
        recurrent = not case.way.startswith("full")
        if recurrent:
            settings = RMTConfig(segment_size=SEGMENT, memory_tokens=MEMORY, alignment="left")
            module = RMTForCausalLM(module, settings)
        module.train()
        if recurrent:
            module = SegmentStep(module) if case.way == "states" else OneGraph(module)
        shard(module, mesh_of(case.ranks, 1)["dp"])
        ids = torch.randint(60, (ROWS, case.tokens))
        optimizer = torch.optim.AdamW(module.parameters(), foreach=True)
        tracker = FSDPMemTracker(module, optimizer)
        tracker.track_inputs((ids,))
        with tracker:
            for _ in range(2):
                if case.way == "states":
                    state_by_state(module, ids, TEXT, tracker.reset_mod_stats)
                elif recurrent:
                    module(ids, TEXT).backward()
                else:
                    module(ids, labels=ids, use_cache=False).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                tracker.reset_mod_stats()
        (peak,) = tracker.get_tracker_snapshot("peak").values()
        return int(peak["Total"])


@pytest.mark.parametrize(("dp", "tp"), [(7, 1), (2, 4), (1, 8)])
def test_what_a_rank_stores_is_exact(dp: int, tp: int) -> None:
    config = _config("llama")
    layout = Layout(dp=dp, tp=tp, zero=3, shard_vocabulary=False)
    with world(dp * tp):
        module: Any = AutoModelForCausalLM.from_config(config)
        mesh = mesh_of(dp, tp)
        if tp > 1:
            tensor_parallel(module, mesh["tp"])
        if dp > 1:
            shard(module, mesh["dp"])
        stored = sum(
            (one.to_local() if isinstance(one, DTensor) else one).numel()
            for one in module.parameters()
        )
    assert rank_weights(from_config(config.to_dict()), layout).stored == stored


def test_states_are_cut_as_zero_says() -> None:
    model = PRESETS["opt-6.7b"]
    work = Workload(tokens=2048, batch_size=8, mode="train", precision="master-bf16")

    def terms(name: str) -> dict[str, int]:
        found = gpu_memory(model, work, parse_layout(name))
        return {term.name: term.amount for term in found.terms}

    none, one, three = terms("dp8"), terms("dp8-zero1"), terms("dp8-zero3")
    assert one[GpuTerm.MOMENTS] == pytest.approx(none[GpuTerm.MOMENTS] / 8, rel=1e-6)
    assert one[GpuTerm.WEIGHTS] == none[GpuTerm.WEIGHTS]
    assert three[GpuTerm.WEIGHTS] == pytest.approx(none[GpuTerm.WEIGHTS] / 8, rel=1e-3)
    wide = terms("dp8-zero1-fp32grads")
    assert wide[GpuTerm.GRADIENTS] == 3 * one[GpuTerm.GRADIENTS]


def test_stages_keep_micro_batches_and_a_context_comes_on_top() -> None:
    model = PRESETS["opt-30b"]
    work = Workload(
        tokens=2048, batch_size=16, mode="train", precision="master-bf16", optimizer="adamw-fused"
    )
    kept = {
        name: {t.name: t.amount for t in gpu_memory(model, work, parse_layout(name)).terms}
        for name in ("tp2-pp4-full", "tp2-sp-pp4-full", "tp2-pp4-vp3-full")
    }
    plain = kept["tp2-pp4-full"][GpuTerm.ACTIVATIONS]
    layers = 12 * 4 * 2048 * 7168 * 2
    assert layers < plain < 1.2 * layers
    assert kept["tp2-sp-pp4-full"][GpuTerm.ACTIVATIONS] == pytest.approx(plain / 2, rel=1e-3)
    assert kept["tp2-pp4-vp3-full"][GpuTerm.ACTIVATIONS] == pytest.approx(1.25 * plain, rel=1e-3)
    found = gpu_memory(model, work, parse_layout("tp2-pp4-full"), None, find_device("h200"))
    assert found.total - found.tensors >= 768 * 2**20
    assert found.by_name()["persistent.context_and_nccl"] == found.total - found.tensors


def test_deepspeed_flattens_gradients_and_casts_them_at_once() -> None:
    """16 bytes a weight stand, and 2 and 4 more of its part of the gradients in the step."""
    work = Workload(
        tokens=64, batch_size=1, mode="train", precision="master-bf16", optimizer="adamw-fused"
    )
    model, layout = PRESETS["gpt2"], Layout(zero=1)
    weights = rank_weights(model, layout).stepped
    plain, flat = (
        gpu_memory(model, work, layout, flattened=flattened) for flattened in (False, True)
    )
    assert flat.peak_at == "in the optimizer step"
    assert flat.total == weights * (2 + (2 + 2 + 4) + 4 + 8)
    assert plain.total < flat.total
    # Each of 8 ranks flattens an eighth, less than what its whole gradients and activations took.
    given = (model, replace(work, batch_size=8), replace(layout, dp=8))
    assert gpu_memory(*given, flattened=True).total == gpu_memory(*given).total
