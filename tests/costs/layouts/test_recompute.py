"""What checkpoints that choose operators make again: against torch's own, on real Llama layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel

from rmtscale.costs.conventions import pass_terms
from rmtscale.costs.layouts.float8 import ROWWISE, TENSORWISE, cast_bytes
from rmtscale.costs.layouts.memory import gpu_memory
from rmtscale.costs.layouts.pace import Reached, layer_seconds, outer_seconds
from rmtscale.costs.layouts.possible import runs_in, why_impossible
from rmtscale.costs.layouts.rank_kernels import Cut
from rmtscale.costs.layouts.recompute import BY_OPERATOR, kept_widths, layer_matmuls, made_again
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm
from rmtscale.costs.time.constants import datasheet_constants
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.layout import Layout, parse_layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload

TOKENS = 24
LLAMA = replace(
    PRESETS["llama-3-8b"],
    layers=1,
    width=32,
    heads=4,
    kv_heads=2,
    head_width=8,
    mlp_width=80,
    vocabulary=50,
    embedding_width=32,
    rotary_width=8,
)


def real_model() -> Any:
    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=80,
        num_hidden_layers=1,
        vocab_size=50,
        attn_implementation="sdpa",
    )
    return LlamaModel(config)


def run(policy: str) -> tuple[int, int]:
    """FLOPs of a layer forward and backward, and numbers of matmuls that the policy keeps."""
    model = real_model()
    layer, kept, count = model.layers[0], 0, [0, 0]
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

    def choose(context: object, operator: object, *args: object, **_: object) -> CheckpointPolicy:
        nonlocal kept
        again = context.is_recompute  # type: ignore[attr-defined]
        save = operator is fused
        if operator is torch.ops.aten.mm.default:
            count[again] += 1
            save = policy == "alternate" and count[again] % 2 == 1
            if save and not again:
                kept += args[0].shape[0] * args[1].shape[1]  # type: ignore[attr-defined]
        return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE

    x = torch.randn(1, TOKENS, 32, requires_grad=True)
    places = torch.arange(TOKENS)[None]
    turned = model.rotary_emb(x, places)

    def forward(x: torch.Tensor) -> torch.Tensor:
        out = layer(x, position_embeddings=turned, position_ids=places)
        found: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return found

    with FlopCounterMode(display=False) as counter:
        if policy == "none":
            out = forward(x)
        else:
            out = checkpoint(
                forward,
                x,
                use_reentrant=False,
                context_fn=lambda: create_selective_checkpoint_contexts(choose),  # type: ignore[no-untyped-call]
            )
        out.sum().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops(), kept


@pytest.mark.parametrize("policy", BY_OPERATOR)
def test_torch_makes_the_same_matmuls_again_and_keeps_the_same(policy: str) -> None:
    plain, _ = run("none")
    flops, kept = run(policy)
    shares = made_again(LLAMA, policy)
    terms = {term.name: term.flops for term in pass_terms("matmul", LLAMA, TOKENS, TOKENS)}
    assert flops - plain == sum(terms[name] * share for name, share in shares.items())
    assert kept == TOKENS * sum(kept_widths(LLAMA, policy))


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt2", "opt-30b", "pythia-1b"])
def test_matmuls_of_a_layer_add_up_to_its_terms(name: str) -> None:
    model = PRESETS[name]
    shares: dict[str, float] = {}
    for one in layer_matmuls(model):
        shares[one.term] = shares.get(one.term, 0.0) + one.share
    named = {term.name for term in pass_terms("matmul", model, 8, 8) if term.in_block}
    named -= {*ATTENTION_TERMS, FlopTerm.PROJECTION}
    assert shares == pytest.approx(dict.fromkeys(named, 1.0))
    assert made_again(model, "attention") == pytest.approx(
        dict.fromkeys(named - {FlopTerm.DENSE_DOWN}, 1.0)
    )


def test_each_policy_saves_more_memory_and_takes_more_time() -> None:
    model = PRESETS["llama-3-8b"]
    device = find_device("h100-sxm")
    work = Workload(tokens=8192, batch_size=16, mode="train", precision="amp-bf16")
    constants = datasheet_constants(device)
    order = ("none", "selective", "alternate", "attention", "full")
    layouts = [Layout(dp=8, zero=3, recompute=one) for one in order]
    sizes = [gpu_memory(model, work, one, None, device).total for one in layouts]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    cut = Cut(1, 8192)
    again = [layer_seconds(model, work, constants, cut, None, one).again.seconds for one in order]
    assert again == sorted(again)
    assert again[0] == 0
    for one in BY_OPERATOR:
        assert parse_layout(f"dp8-{one}").recompute == one
        assert runs_in(Layout(dp=8, zero=3, recompute=one), None) == ("torchtitan",)


def test_experts_have_no_list() -> None:
    mixture = resolve_model("qwen3-30b-a3b")
    work = Workload(tokens=64, batch_size=8, mode="train")
    for one in BY_OPERATOR:
        assert "experts" in why_impossible(mixture, work, Layout(dp=8, recompute=one))


def slow_cast_bytes(model: ModelSpec, tokens: int, rowwise: bool) -> tuple[int, int]:
    """Tensor by tensor, as torchao lists the kernels: reads in 16 bits and writes in 8."""
    d, q, k, f = model.width, model.query_width, model.kv_width, model.mlp_width
    forward = backward = 0
    for width in (d, q, d, f):  # what queries, output, gates and down read
        for _ in range(tokens):
            if rowwise:  # one order and a copy in the other; the copy
                forward += width * (2 + 1 + 2) + width * (2 + 1)
            else:  # the largest; both orders
                forward += width * 2 + width * (2 + 1 + 1)
    for rows, columns in ((d, q), (d, k), (d, k), (q, d), (d, f), (d, f), (f, d)):
        for _ in range(tokens):
            backward += columns * (5 + 3) if rowwise else columns * (2 + 4)
        forward += rows * columns * (3 if rowwise else 5)
        backward += rows * columns * (4 + 3 if rowwise else 3)
    return forward, backward


@pytest.mark.parametrize("rowwise", [False, True])
def test_casts_are_counted_tensor_by_tensor(rowwise: bool) -> None:
    cast = ROWWISE if rowwise else TENSORWISE
    assert cast_bytes(LLAMA, cast, 7, 1) == slow_cast_bytes(LLAMA, 7, rowwise)


def test_float8_is_of_the_layers_and_not_of_the_head() -> None:
    model = PRESETS["llama-3-8b"]
    work = Workload(tokens=8192, mode="train", precision="amp-bf16")
    constants = datasheet_constants(find_device("h100-sxm"))
    cut, plain = Cut(2, 8192), Reached(0.7, 0.35)
    cast = plain._replace(float8=TENSORWISE)
    rows = (model, work, constants, cut)
    assert outer_seconds(*rows, 8192, plain) == outer_seconds(*rows, 8192, cast)
    wide, narrow = layer_seconds(*rows, plain), layer_seconds(*rows, cast)
    assert narrow.attention == wide.attention
    assert 0.5 * wide.forward.seconds < narrow.forward.seconds < wide.forward.seconds
