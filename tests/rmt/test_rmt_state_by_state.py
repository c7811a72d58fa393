"""State by state: the gradients of plain BPTT, with states alone between the two passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.costs.oracle_memory import LiveBytes, as_on_the_gpu
from tests.rmt.tiny_models import backbone, padded, tokens


def pair(dtype: torch.dtype = torch.float64, dropout: float = 0.0, **more: Any) -> list[Any]:
    """The same decoder twice: plain, and state by state."""
    models: list[Any] = []
    for by_state in (False, True):
        torch.manual_seed(0)
        inner = backbone("gpt2", dtype, dropout=dropout)
        config = RMTConfig(8, 2, state_by_state=by_state, **more)
        models.append(RMTForCausalLM(inner, config).train())
    return models


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(models: list[Any], tolerance: float = 1e-10) -> None:
    plain, by_state = models
    ours, theirs = gradients(by_state), gradients(plain)
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        assert (ours[name] - grad).abs().max() <= tolerance * max(1.0, float(grad.abs().max())), (
            name
        )


@pytest.mark.parametrize("depth", [None, 2])
def test_with_dropout_accumulated_and_scaled(depth: int | None) -> None:
    """Two batches of different shapes, each loss scaled, into the same gradients."""
    models = pair(dropout=0.5, bptt_segments=depth)
    ids, mask = padded([13, 5, 9], 15, left=True)
    for model in models:
        torch.manual_seed(3)
        (3 * model(ids, mask, ids).loss).backward()
        (0.5 * model(ids[:, :7], labels=ids[:, :7]).loss).backward()
        assert torch.rand(1) != 0
    assert_same_gradients(models)


def test_the_random_numbers_after_a_step_are_those_of_plain_training() -> None:
    drawn = []
    for model in pair(dropout=0.5):
        torch.manual_seed(3)
        model(tokens(2, 15), labels=tokens(2, 15)).loss.backward()
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_state_logits_and_embeddings_can_be_differentiated_too() -> None:
    found = []
    for model in pair():
        memory = torch.ones(2, 2, 8, dtype=torch.float64, requires_grad=True)
        embeds = model.embed(tokens(2, 15)).detach().requires_grad_()
        out = model(inputs_embeds=embeds, labels=tokens(2, 15), memory=memory)
        (out.loss + out.logits.square().sum() + 2 * out.memory.square().sum()).backward()
        found.append([memory.grad, embeds.grad, *gradients(model).values()])
    assert all(grad.abs().max() > 0 for grad in found[0][:2])
    for theirs, ours in zip(*found, strict=True):
        assert (ours - theirs).abs().max() < 1e-10 * max(1, theirs.abs().max())


def test_an_output_without_a_gradient_and_frozen_weights() -> None:
    plain, by_state = pair()
    for model in (plain, by_state):
        model.freeze_backbone()
        model(tokens(1, 15)).memory.sum().backward()
    assert_same_gradients([plain, by_state])
    assert set(gradients(by_state)) == {"memory.initial_ME"}


@pytest.mark.parametrize("depth", [None, 2])
def test_window_losses(depth: int | None) -> None:
    models = pair(bptt_segments=depth)
    for model in models:
        for loss in model.window_losses(tokens(2, 19)):
            loss.backward()
    assert_same_gradients(models)


@pytest.mark.parametrize("inside", [False, True])
def test_autocast(inside: bool) -> None:
    """Also with the backward pass inside, where casts made without a graph are still cached."""
    models, ids = pair(torch.float32), tokens(2, 19)
    for model in models:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, labels=ids).loss
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
    assert all(grad.abs().max() > 0 for grad in gradients(models[1]).values())
    assert_same_gradients(models, tolerance=0.05)


def test_half_precision_under_a_loss_scale() -> None:
    models, ids = pair(torch.float16), tokens(2, 19)
    for model in models:
        (model(ids, labels=ids).loss * 2.0**10).backward()
    assert_same_gradients(models, tolerance=0.02)


def test_every_segment_runs_twice_and_without_labels_of_all_once() -> None:
    _, model = pair()
    runs: list[bool] = []
    model.backbone.transformer.h[0].register_forward_hook(
        lambda *_: runs.append(torch.is_grad_enabled())
    )
    model(tokens(1, 16), labels=tokens(1, 16)).loss.backward()
    assert runs == [False] * 4 + [True] * 4
    runs.clear()
    model(tokens(1, 16), keep_logits="all").logits.sum().backward()
    assert runs == [True] * 4, "logits of all tokens are kept with their graph"


def test_a_second_backward_pass_and_changed_weights_are_errors() -> None:
    _, model = pair()
    loss = model(tokens(1, 16), labels=tokens(1, 16)).loss
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    loss = model(tokens(1, 16), labels=tokens(1, 16)).loss
    with torch.no_grad():
        model.memory.initial_ME.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_an_encoder_hands_the_state_back_too() -> None:
    found = []
    for by_state in (False, True):
        torch.manual_seed(0)
        config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, state_by_state=by_state)
        model: Any = RMTForSequenceClassification(backbone("bert"), config).train()
        ids, mask = padded([13, 2, 9], 13, left=False)
        out = model(ids, mask, labels=torch.tensor([0, 2, 1]))
        (out.loss + out.memory.square().sum()).backward()
        found.append(model)
    assert_same_gradients(found)


def peak_bytes(segments: int, **more: Any) -> tuple[int, int]:
    """Most bytes alive in a training step, and those alive between its two passes."""
    live = LiveBytes()
    config = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
    with live:
        inner = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        model: Any = RMTForCausalLM(inner, RMTConfig(20, 2, keep_logits="none", **more)).train()
        for parameter in model.parameters():
            live.track(parameter)
        ids = torch.zeros(1, 16 * segments, dtype=torch.long)
        held = live.live
        loss = model(ids, labels=ids).loss
        between = live.live - held
        live.backward(loss)
    return live.peak - held, between


def test_memory_grows_by_no_more_than_a_state_for_each_segment() -> None:
    few, many = (peak_bytes(segments, state_by_state=True) for segments in (2, 12))
    random = torch.get_rng_state().nbytes  # noted for each segment, on the host
    state = 2 * 16 * 4
    ids = 16 * 8
    for before, after in zip(few, many, strict=True):
        assert after - before <= 10 * (state + random + 4 * ids), (before, after)
    checkpointed, plain = peak_bytes(12, checkpoint_segments=True), peak_bytes(12)
    assert many[0] - 12 * random < checkpointed[0] < plain[0]
    assert many[1] - 12 * random < 0.2 * checkpointed[1]


def shrunk_peak(segments: int, **more: Any) -> int:
    """The example of docs/rmt.md on ``meta``: most bytes of a step above what it begins with."""
    live = LiveBytes()
    config = GPT2Config(
        n_layer=4, n_embd=64, n_head=2, vocab_size=4000, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with as_on_the_gpu(), live, torch.device("meta"):
        inner = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        model: Any = RMTForCausalLM(inner, RMTConfig(128, 2, keep_logits="none", **more)).train()
        for parameter in model.parameters():
            live.track(parameter)
        ids = torch.zeros(1, 124 * segments, dtype=torch.long)
        held = live.live
        live.backward(model(ids, labels=ids).loss)
    return live.peak - held


def test_the_peaks_that_the_page_states() -> None:
    """They cross where the input has two segments more than the vocabulary has words."""
    page = (Path(__file__).parents[2] / "docs" / "rmt.md").read_text(encoding="utf-8")
    own, checked = (
        [shrunk_peak(count, **{way: True}) for count in (2, 32)]
        for way in ("state_by_state", "checkpoint_segments")
    )
    words = (
        "peaks at {1:.2f} MB for 32 segments of 128 tokens (124 of them text) and at {0:.2f} MB "
        "for two, with checkpoints at {3:.2f} and {2:.2f} MB."
    ).format(*(peak / 1e6 for peak in (*own, *checked)))
    assert words in " ".join(page.split())
    grows = [(many - few) / 30 for few, many in (own, checked)]
    crossing = 2 + (own[0] - checked[0]) / (grows[1] - grows[0])
    assert 124 * crossing == pytest.approx(4000 + 2 * 124, rel=0.01)
