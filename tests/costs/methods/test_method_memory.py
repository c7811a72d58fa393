"""The peak of a method, term by term: what it keeps in place of attention, and its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.method_memory import MethodStep, method_weights
from rmtscale.costs.methods.mamba import Mamba
from rmtscale.costs.methods.sliding_window import SlidingWindow
from rmtscale.costs.methods.transformer_xl import TransformerXL
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.peak_candidates import Step
from rmtscale.specs.workload import Workload
from tests.costs.methods.counting import backbone

DECODER = backbone("llama", layers=3, heads=4, kv_heads=2)
W = 2


def work(tokens: int, **settings: Any) -> Workload:
    return Workload(tokens=tokens, batch_size=3, optimizer="none", **settings)


def test_weights_are_those_of_the_backbone_without_its_attention() -> None:
    assert method_weights(DECODER, SlidingWindow(8)) == 0
    attention = 3 * 2 * 64 * (64 + 32)
    assert method_weights(DECODER, Mamba()) == Mamba().weights(DECODER) - attention
    found = estimate_memory(DECODER, work(9), Mamba()).by_name()["persistent.weights"]
    assert found == W * (count_parameters(DECODER).total + Mamba().weights(DECODER) - attention)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_in_training_every_layer_keeps_what_the_method_says(checkpoint: bool) -> None:
    method, given = Mamba(), work(50, mode="train", checkpoint_layers=checkpoint)
    plain = Step(DECODER, given, 0).segment(50, 50)
    found = MethodStep(DECODER, given, 0, method).segment(50, 50)
    kept = 3 * method.kept_bytes(DECODER, 50, W)
    assert found.layer == (kept, plain.layer.other)
    assert found.backbone == (0 if checkpoint else 3 * kept, plain.backbone.other)
    assert found.mask == 0
    # Inside a layer all of it is there at once, and two hidden states.
    assert found.work.forward == max(plain.work.forward, kept + 2 * 3 * 50 * 64 * W)
    narrow = replace(DECODER, vocabulary=2, mlp_width=8)
    inside = estimate_memory(narrow, work(50), method)
    assert inside.peak_at == "inside a layer"
    assert inside.by_name()["transient.working_set"] == kept + 2 * 3 * 50 * 64 * W


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_a_state_is_there_where_the_input_is_read_in_pieces(mode: Any) -> None:
    method = TransformerXL(8, 12)
    for tokens in (8, 9, 40):
        given = work(tokens, mode=mode)
        held = 3 * method.state_bytes(DECODER, tokens, W) * (tokens > 8)
        step = MethodStep(DECODER, given, 0, method)
        assert step.positions == 8
        for moment in step.train() if mode == "train" else step.forward():
            assert moment.state == held


def test_no_square_is_formed() -> None:
    """Whatever the backbone's own attention does, with eager attention asked for too."""
    eager = work(50, mode="train", attention="eager")
    step = MethodStep(DECODER, eager, 0, SlidingWindow(8))
    rates = step.rates
    assert rates.fused
    assert (rates.attention_pair, rates.pair_work, rates.row_block) == (0, 0, 0)
