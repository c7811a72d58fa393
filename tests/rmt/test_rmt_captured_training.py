"""Captured training steps: the logic around them anywhere, the graphs themselves on a GPU."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import Trainer, TrainingArguments

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt import loss as losses
from rmtscale.rmt.body import Body
from rmtscale.rmt.captured_training import CapturedTraining
from tests.rmt.stand_in_capture import StandInCapture, capture_by_rerun
from tests.rmt.tiny_models import backbone, padded, tokens

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
DROPOUTS = {"embd_pdrop": 0.2, "attn_pdrop": 0.2, "resid_pdrop": 0.2}


def decoder(kind: str = "gpt2", dtype: torch.dtype = torch.float64, **more: Any) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(backbone(kind, dtype), RMTConfig(8, 2, **more)).train()
    return model


def encoder(kind: str = "bert", **more: Any) -> RMTForSequenceClassification:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, **more)
    model: RMTForSequenceClassification = RMTForSequenceClassification(backbone(kind), config)
    model.train()
    return model


def pair(model: Any, lengths: int = 8) -> tuple[Any, Any, StandInCapture]:
    """The model captured, and an eager copy."""
    eager = copy.deepcopy(model)
    return model, eager, capture_by_rerun(model, lengths)


def assert_same_gradients(one: Any, other: Any, tolerance: float = 1e-10) -> None:
    for (name, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None and theirs.grad is not None:
            assert (ours.grad - theirs.grad).abs().max() <= tolerance, name


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"bptt_segments": 2},
        {"bptt_segments": 1, "loss_on": "last", "memory_tokens": 0},
        {"loss_on": "last", "alignment": "left"},
        {"checkpoint_segments": True, "keep_logits": "none"},
        {"state_by_state": True, "bptt_segments": 2},
    ],
)
def test_captured_equals_eager_over_drawn_shapes(more: dict[str, Any]) -> None:
    """Lengths, paddings, given memory, and gradients that accumulate over three calls."""
    config = {"memory_tokens": 2, **more}
    model, eager, capture = pair(RMTForCausalLM(backbone("gpt2"), RMTConfig(8, **config)).train())
    draw = torch.Generator().manual_seed(3)
    shapes: list[tuple[int, list[int] | None]] = [(11, None), (4, None), (9, [9, 3]), (9, [2, 9])]
    for call in range(13):
        columns, lengths = shapes[call % 4]
        ids, mask = tokens(2, columns, seed=call), None
        if lengths is not None:
            ids, mask = padded(lengths, columns, left=call % 8 > 3, seed=call)
        memory = None
        if call % 5 == 4 and config["memory_tokens"]:
            memory = torch.randn(2, 2, 8, generator=draw, dtype=torch.float64)
        found, wanted = (one(ids, mask, labels=ids, memory=memory) for one in (model, eager))
        assert abs(float(found.loss) - float(wanted.loss)) < 1e-10
        assert (found.memory - wanted.memory).abs().sum() < 1e-10
        assert (found.logits is None) == (wanted.logits is None)
        if found.logits is not None:
            assert (found.logits - wanted.logits).abs().max() < 1e-10
        for one in (found, wanted):
            (one.loss / 3).backward()
        assert_same_gradients(model, eager)
        if call % 3 == 2:
            model.zero_grad(set_to_none=call % 2 == 0)
            eager.zero_grad(set_to_none=call % 2 == 0)
    assert capture.made >= 3


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt-projected"])
def test_other_decoders(kind: str) -> None:
    """Rotary tables and norms of theirs are in fp32, whatever the weights are."""
    model, eager, capture = pair(decoder(kind))
    for call in range(3):
        ids = tokens(2, 11, seed=call)
        for one in (model, eager):
            one.zero_grad()
            one(ids, labels=ids).loss.backward()
        assert_same_gradients(model, eager, 1e-6)
    assert capture.made == 1


@pytest.mark.parametrize("kind", ["bert", "modernbert-mean"])
@pytest.mark.parametrize("more", [{}, {"bptt_segments": 1}, {"checkpoint_segments": True}])
def test_encoders(kind: str, more: dict[str, Any]) -> None:
    model, eager, capture = pair(encoder(kind, **more))
    labels = torch.tensor([0, 2])
    for call in range(4):
        ids, mask = padded([11, 6], 11, left=False, seed=call)
        items = None if call < 3 else torch.tensor(4)
        outs = [one(ids, mask, labels=labels, num_items_in_batch=items) for one in (model, eager)]
        for one in outs:
            one.loss.backward()
        assert abs(float(outs[0].loss) - float(outs[1].loss)) < 1e-6
        assert (outs[0].logits - outs[1].logits).abs().max() < 1e-6
        assert_same_gradients(model, eager, 1e-6)
    assert capture.made == 1


def test_a_gradient_is_the_buffer_itself_until_it_would_be_overwritten() -> None:
    model, _, _ = pair(decoder())
    ids = tokens(1, 11)
    for _ in range(2):
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
    first = [p.grad for p in model.parameters()]
    places = [x.data_ptr() for x in first]
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    assert [p.grad.data_ptr() for p in model.parameters()] == places, "no copies"
    once = [p.grad.clone() for p in model.parameters()]
    model(ids, labels=ids).loss.backward()
    for parameter, before in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * before)


def test_losses_may_wait_for_their_backward_pass() -> None:
    model, eager, _ = pair(decoder())
    for one in (model, eager):
        for _ in range(2):
            one(tokens(1, 11), labels=tokens(1, 11))
        one.zero_grad()
        losses = [one(ids, labels=ids).loss for ids in (tokens(1, 11), tokens(1, 11, seed=5))]
        (losses[0] - 0.5 * losses[1]).backward()
    assert_same_gradients(model, eager)
    loss = model(tokens(1, 11), labels=tokens(1, 11)).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed out only once"):
        loss.backward()


def test_gradients_reach_a_given_memory_and_given_embeddings() -> None:
    model, eager, capture = pair(decoder())
    found: list[list[Tensor]] = []
    for one in (model, eager):
        for call in range(3):
            memory = torch.full((2, 2, 8), 0.1 * call, dtype=torch.float64, requires_grad=True)
            embeds = one.embedding_VE[tokens(2, 9, seed=call)].requires_grad_()
            labels = tokens(2, 9, seed=call)
            out = one(inputs_embeds=embeds, labels=labels, memory=memory)
            out.loss.backward()
        assert memory.grad is not None
        assert embeds.grad is not None
        found.append([memory.grad, embeds.grad])
    assert capture.made == 1
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() < 1e-10


def test_shapes_are_kept_within_the_budget() -> None:
    model, _, capture = pair(decoder(), lengths=2)
    training = model.captured_training

    def step(columns: int) -> None:
        model(tokens(1, columns), labels=tokens(1, columns)).loss.backward()

    step(5)
    assert capture.made == 1, "the first of all, before an optimizer allocates anything"
    for columns in (5, 6, 6, 5, 7, 7):  # 6 is the one unused for longest
        step(columns)
    assert (capture.made, len(training)) == (3, 2)
    step(5)
    assert capture.made == 3
    step(6)
    step(6)
    assert (capture.made, len(training)) == (4, 2)
    for columns in range(10, 20):  # seen once each
        step(columns)
    assert capture.made == 4
    with pytest.raises(BadInput, match="lengths"):
        model.capture_training(lengths=0)


def test_what_changes_a_step_captures_it_anew() -> None:
    model, eager, capture = pair(decoder())
    ids = tokens(1, 11)

    def check() -> None:
        before = capture.made
        for _ in range(2):
            for one in (model, eager):
                one.zero_grad()
                one(ids, labels=ids).loss.backward()
        assert_same_gradients(model, eager)
        assert capture.made == before + 1

    check()
    for one in (model, eager):
        one.backbone.transformer.wpe.weight.requires_grad_(False)
    check()
    for one in (model, eager):
        one.config.bptt_segments = 1
    check()
    for one in (model, eager):
        one.backbone.lm_head.weight = torch.nn.Parameter(one.embedding_VE * 2)
    check()
    for one in (model, eager):
        one.eval()
    check()


def assert_refused(model: Any, why: str, **given: Any) -> None:
    ids = tokens(1, 11)
    capture = model.captured_training.capture
    with pytest.warns(UserWarning, match=why):
        model(ids, labels=ids, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            out = model(ids, labels=ids, **given)
    out.loss.backward()
    assert model.memory.initial_ME.grad is not None
    assert capture.made == 0


def captured(model: Any) -> Any:
    capture_by_rerun(model)
    return model


def test_what_cannot_be_captured_runs_eagerly_and_says_why_once() -> None:
    assert_refused(captured(decoder("gpt_neo")), "'gpt_neo' copies numbers from the host")
    assert_refused(captured(decoder()), "logits of every token", keep_logits="all")
    hooked = captured(decoder())
    hooked.backbone.transformer.h[1].register_forward_hook(lambda *_: None)
    assert_refused(hooked, "'backbone.transformer.h.1' has hooks")
    replaced = captured(decoder())
    replaced.backbone.transformer.h[0].forward = replaced.backbone.transformer.h[0].forward
    assert_refused(replaced, "forward of module 'backbone.transformer.h.0' was replaced")
    dropping = captured(decoder(checkpoint_segments=True))
    dropping.backbone.transformer.drop.p = 0.1
    assert_refused(dropping, "with dropout a second run puts random numbers back")
    layers = captured(decoder())
    layers.backbone.gradient_checkpointing_enable()
    assert_refused(layers, "one checkpoint per layer")
    with torch.autocast("cpu", torch.half):
        assert_refused(captured(decoder(dtype=torch.float32)), "in fp16")
    other = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).train()
    other.body = Body.of(other.backbone, causal=True)
    assert_refused(captured(other), "run by its own forward")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_capture_that_fails_is_tried_once_more_at_most(compiled: bool) -> None:
    """Without compiling, where that was asked for."""
    model, capture = decoder(), StandInCapture(fails=True)
    model.captured_training = CapturedTraining(capture, 8, compile_step=compiled)
    ids = tokens(1, 11)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(6):
            model(ids, labels=ids).loss.backward()
    assert (capture.tried, capture.made) == (1 + compiled, 0)
    assert len(said) == 1 + compiled
    assert "RuntimeError: operation not permitted when stream" in str(said[0].message)
    assert ("without compiling" in str(said[0].message)) == compiled


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU captures")
def test_the_public_switch_says_that_there_is_no_gpu() -> None:
    model = decoder()
    model.capture_training()
    ids = tokens(1, 11)
    with pytest.warns(UserWarning, match="the model is on cpu, not on an NVIDIA GPU"):
        model(ids, labels=ids).loss.backward()
    assert pickle.loads(pickle.dumps(model)).captured_training is None
    model.capture_training(enabled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(ids, labels=ids)


def test_inference_and_calls_without_gradients_are_not_captured() -> None:
    model, _, capture = pair(decoder())
    ids = tokens(1, 11)
    for _ in range(3):
        model(ids)
        with torch.no_grad():
            model(ids, labels=ids)
    assert capture.made == 0


def test_a_trainer_accumulates_clips_and_steps_as_without(tmp_path: Path) -> None:
    rows = [{"input_ids": row, "labels": row} for row in tokens(16, 13)]
    model, eager, capture = pair(decoder(dtype=torch.float32))
    for name, one in {"captured": model, "eager": eager}.items():
        arguments = TrainingArguments(
            output_dir=str(tmp_path / name),
            max_steps=3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_grad_norm=0.5,
            learning_rate=1e-2,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        Trainer(model=one, args=arguments, train_dataset=rows).train()
    assert capture.made == 1
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_accelerate_and_autocast() -> None:
    model, eager, capture = pair(decoder(dtype=torch.float32))
    ids = tokens(2, 11)
    for one in (model, eager):
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        prepared, optimizer = accelerator.prepare(one, optimizer)
        for _ in range(4):
            with torch.autocast("cpu", torch.bfloat16):
                loss = prepared(ids, labels=ids).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    assert capture.made == 1
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


def gpu_decoder(**more: Any) -> Any:
    dropout = more.pop("dropout", False)
    kind, attention = more.pop("kind", "gpt2"), more.pop("attention", "sdpa")
    model = decoder(kind, torch.float32, **more).cuda()
    model.set_attn_implementation(attention)
    if dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
    return model


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kind": "llama"},
        {"kind": "gpt_neox"},
        {"kind": "opt"},
        {"dropout": True},
        {"dropout": True, "attention": "eager"},
        {"bptt_segments": 2},
        {"checkpoint_segments": True},
        {"state_by_state": True},
        {"loss_on": "last", "bptt_segments": 1},
    ],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_a_gpu_s_captured_steps_are_the_eager_ones(more: dict[str, Any], autocast: bool) -> None:
    """Also with dropout: both draw the same. The loop keeps its losses, as loops do."""
    model = gpu_decoder(**more)
    eager = copy.deepcopy(model)
    model.capture_training()
    for one in (model, eager):
        one.losses = []
        optimizer = torch.optim.SGD(one.parameters(), lr=0.01)
        for call in range(8):
            columns = 11 if call % 2 else 9
            ids, mask = padded([columns, 5], columns, left=False, seed=call)
            torch.manual_seed(call)
            with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
                loss = one(ids.cuda(), mask.cuda(), labels=ids.cuda()).loss
            loss.backward()
            one.losses.append(loss.detach())
            optimizer.step()
            optimizer.zero_grad()
    assert len(model.captured_training) == 2
    tolerance = 2e-2 if autocast else 1e-4
    torch.testing.assert_close(
        torch.stack(model.losses), torch.stack(eager.losses), rtol=tolerance, atol=tolerance
    )
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("more", [{}, {"checkpoint_segments": True}])
def test_a_block_is_compiled_once_for_all_full_segments(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also under a checkpoint, whose inside torch does not compile by itself."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph

    monkeypatch.setattr(losses, "compiled_loss", lambda: losses.loss_and_error)
    model, eager, _ = pair(decoder(**more))
    model.captured_training = CapturedTraining(
        StandInCapture(), 8, compile_step=True, backend=backend
    )
    for call in range(3):
        ids = tokens(2, 14, seed=call)
        for one in (model, eager):
            one.zero_grad()
            one(ids, labels=ids).loss.backward()
        assert_same_gradients(model, eager)
        assert len(graphs) == 1


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("more", [{}, {"checkpoint_segments": True, "pad_vocabulary_to": 24}])
def test_a_compiled_step_is_captured(own: bool, more: dict[str, Any]) -> None:
    """Compiled by torch's ``model.compile()``, or by the capture."""
    model = gpu_decoder(**more)
    eager = copy.deepcopy(model)
    model.capture_training(compile_step=own)
    if not own:
        model.compile()
    for call in range(4):
        ids = tokens(2, 11, seed=call).cuda()
        for one in (model, eager):
            one.zero_grad()
            one(ids, labels=ids).loss.backward()
        assert_same_gradients(model, eager, 1e-3)
    assert len(model.captured_training) == 1


@CUDA
@pytest.mark.gpu
def test_a_gpu_s_captured_encoder_is_the_eager_one() -> None:
    model = encoder().float().cuda()
    eager = copy.deepcopy(model)
    model.capture_training()
    labels = torch.tensor([0, 2]).cuda()
    for call in range(4):
        ids, mask = (x.cuda() for x in padded([11, 6], 11, left=False, seed=call))
        for one in (model, eager):
            one.zero_grad()
            one(ids, mask, labels=labels).loss.backward()
        assert_same_gradients(model, eager, 1e-4)
    assert len(model.captured_training) == 1
