"""Modes in any order: inference_mode, no_grad, train, eval, compiled, in half precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification, Stream
from tests.grids import covering
from tests.rmt.comparing import equal
from tests.rmt.tiny_models import ENCODERS, backbone, tokens

Model = RMTForCausalLM | RMTForSequenceClassification
HALVES = [torch.float16, torch.bfloat16]
MODES: dict[str, Callable[[], Any]] = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "grad": contextlib.nullcontext,
}


def decoder(kind: str = "gpt2", dtype: torch.dtype = torch.float64, **more: Any) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(backbone(kind, dtype), RMTConfig(8, 2, **more)).eval()
    return model


def encoder(kind: str = "bert", dtype: torch.dtype = torch.float64, **more: Any) -> Model:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, **more)
    return RMTForSequenceClassification(backbone(kind, dtype), config)


def loss_of(model: Model, ids: torch.Tensor) -> torch.Tensor:
    labels = ids if hasattr(model, "generate") else torch.arange(len(ids)) % 3
    loss: torch.Tensor = model(ids, labels=labels).loss
    return loss


@pytest.mark.parametrize("order", permutations(MODES))
def test_every_way_of_reading_works_in_any_order_of_modes(order: tuple[str, ...]) -> None:
    ids, more = tokens(2, 13), tokens(2, 9, seed=2)
    wanted = decoder(alignment="left")(ids)
    model = decoder(alignment="left")
    with MODES[order[0]]():
        stream = Stream(model, 2)
    first = None
    for mode in order:
        with MODES[mode]():
            out = model.infer(ids)
            assert equal(out.logits, wanted.logits)
            assert equal(out.memory, wanted.memory)
            first = out.memory if first is None else first
            stream.feed(ids[:, :3])
            model.generate(ids[:, :3], max_new_tokens=6, memory=first)
            model.infer(more, memory=first)
    # A state from inference_mode goes on into a training step.
    model(more, labels=more, memory=first).loss.backward()
    assert stream.tokens == 9


def test_a_model_set_to_training_is_refused_wherever_it_infers() -> None:
    model, ids = decoder(), tokens(1, 9)
    stream = Stream(model)
    stream.feed(ids[:, :5])
    model.infer(ids)
    for switch in (model.train, model.backbone.train):
        model.eval()
        switch()
        calls: list[Callable[[], Any]] = [
            lambda: stream.feed(ids),
            stream.logits,
            stream.finish,
            lambda: model.infer(ids),
            lambda: model.generate(ids, max_new_tokens=1),
            lambda: Stream(model),
        ]
        for call in calls:
            with pytest.raises(BadInput, match=r"model in training mode: expected model.eval\(\)"):
                call()
    model.eval()
    stream.feed(ids[:, 5:])
    assert equal(stream.finish().memory, decoder(alignment="left")(ids).memory)


def test_a_stream_follows_weights_that_move() -> None:
    model, ids = decoder(alignment="left"), tokens(1, 11)
    stream = Stream(model)
    stream.feed(ids[:, :6])
    model.backbone.resize_token_embeddings(23)
    stream.feed(ids[:, 6:])
    assert (stream.finish().memory - model(ids).memory).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("make", "columns", "depth", "more"),
    covering(
        [decoder, encoder],
        [3, 13],
        [None, 1, 2],
        [{}, {"loss_on": "last"}, {"checkpoint_segments": True}, {"state_by_state": True}],
        together=2,
    ),
)
def test_every_parameter_takes_part_in_the_loss(
    make: Callable[..., Model], columns: int, depth: int | None, more: dict[str, Any]
) -> None:
    model = make(bptt_segments=depth, **more)
    for given in (None, torch.zeros(2, 2, 8, dtype=torch.float64)):
        for frozen in (False, True):
            model.zero_grad()
            model.requires_grad_(True)
            if frozen:
                model.freeze_backbone()
            ids = tokens(2, columns)
            labels = ids if make is decoder else torch.tensor([0, 1])
            model.train()(ids, labels=labels, memory=given).loss.backward()
            for name, parameter in model.named_parameters():
                assert (parameter.grad is not None) == parameter.requires_grad, name
            if given is not None:
                initial: Any = model.memory.initial_ME
                assert not initial.grad.any()


@pytest.mark.parametrize(
    ("dtype", "depth", "keep"),
    covering(HALVES, [None, 1], ["none", "last", "all"], together=2),
)
def test_half_precision_trains_like_full(dtype: torch.dtype, depth: int | None, keep: str) -> None:
    """Sums over 1,000 rows of hidden states of 100, and gradients far below what fp16 can hold."""
    inner: Any = backbone("gpt_neox", torch.float32)
    with torch.no_grad():
        inner.gpt_neox.final_layer_norm.weight.fill_(100.0)
        inner.get_output_embeddings().weight.mul_(1e-3)
    model = RMTForCausalLM(inner, RMTConfig(1004, 2, bptt_segments=depth, keep_logits=keep))
    ids = tokens(1, 1500)
    model(ids, labels=ids).loss.backward()
    exact = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    scale = 2.0**7 if dtype == torch.float16 else 1.0
    with torch.autocast("cpu", dtype):
        loss = model(ids, labels=ids).loss
    (scale * loss).backward()
    for name, parameter in model.named_parameters():
        difference = (parameter.grad / scale - exact[name]).norm()
        assert difference < 0.1 * exact[name].norm() + 1e-6, name


def test_a_loss_scaler_trains_in_fp16() -> None:
    model = RMTForCausalLM(backbone("llama", torch.float32), RMTConfig(8, 2, bptt_segments=1))
    ids, scaler = tokens(2, 21), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = model(ids, labels=ids).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_the_segment_step_is_what_is_compiled() -> None:
    """Twelve lengths: graphs for the first segment and for later ones, each twice, because one
    token is a case of its own to torch."""
    model = decoder(dtype=torch.float32, bptt_segments=1).train()
    inner: Any = model.backbone.transformer
    inner.h = inner.h[:1]  # compiling takes the time
    counter = CompileCounter()
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend=counter)
    for columns in range(9, 33, 2):
        ids = tokens(2, columns)
        loss: Any = loss_of(compiled, ids)
        assert (loss - loss_of(model, ids)).abs() < 1e-5
        loss.backward()
    assert 1 <= counter.frame_count <= 4
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_runs_in_half_precision(kind: str, dtype: torch.dtype) -> None:
    model, ids = encoder(kind, torch.float32).train(), tokens(2, 13)
    exact = float(loss_of(model, ids).detach())
    with torch.autocast("cpu", dtype):
        loss: Any = loss_of(model, ids)
    loss.backward()
    assert abs(float(loss.detach()) - exact) < 0.05 * exact
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
