"""Sink tokens of the memory: the slow reference, every way to read and to train, what is refused.

Random losses, paddings, windows and ways to run again meet sinks in ``test_rmt_decoder.py`` and
``test_rmt_encoder.py``; here is what those do not go through.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, MixtralConfig

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification, Stream
from rmtscale.rmt.graph import SegmentStep
from rmtscale.rmt.lean_gpt2 import LeanGPT2
from rmtscale.rmt.memory import keep_sink
from tests.grids import THOROUGH
from tests.rmt import slow_reference
from tests.rmt.comparing import demand_reference_of_encoder, equal
from tests.rmt.stand_in_capture import capture_by_rerun
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, padded, tokens

SINKS, MEMORY = 2, 3
SPECIAL: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def make(
    kind: str = "gpt2", sinks: int = SINKS, dtype: torch.dtype = torch.float64, **more: Any
) -> RMTForCausalLM:
    """A decoder of four text tokens a segment."""
    config = RMTConfig(10, MEMORY, **{"alignment": "left", "sink_tokens": sinks, **more})
    model: RMTForCausalLM = RMTForCausalLM(backbone(kind, dtype), config).eval()
    return model


def make_encoder(
    kind: str = "bert", sinks: int = SINKS, **more: Any
) -> RMTForSequenceClassification:
    config = RMTConfig(10, MEMORY, sink_tokens=sinks, **SPECIAL, **more)
    built = RMTForSequenceClassification(backbone(kind, labels=3), config)
    model: RMTForSequenceClassification = built.eval()
    return model


def initial_of(model: Any) -> torch.nn.Parameter:
    initial_ME: torch.nn.Parameter = model.memory.initial_ME
    return initial_ME


def state_of(model: Any, rows: int) -> Tensor:
    return torch.randn(rows, MEMORY, model.embedding_VE.shape[1], dtype=torch.float64)


def assert_sink_is_initial(model: Any, memory: Tensor) -> None:
    initial = initial_of(model).detach()
    for row in memory.detach():
        assert torch.equal(row[:SINKS], initial[:SINKS]), "bit by bit"
        assert (row[SINKS:] - initial[SINKS:]).abs().min() > 0, "all others were written"


def test_row_by_row() -> None:
    old, new = (torch.full((1, 3, 2), value) for value in (1.0, 2.0))
    assert keep_sink(old, new, 2)[0].tolist() == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]
    assert keep_sink(old, new, 0) is new
    exact = torch.tensor([[[1 + 2**-20], [0.0]]])
    assert float(keep_sink(exact, new[:, :2, :1].bfloat16(), 1)[0, 0]) == 1 + 2**-20, "not rounded"


@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_decoder_equals_the_reference(exact: None, kind: str, alignment: str) -> None:
    model = make(kind, alignment=alignment)
    ids, mask = padded([13, 6, 10], 14, True)
    given: Any = (model.backbone, initial_of(model), ids, mask, ids)
    memory = state_of(model, 3)
    for start in (None, memory):
        out = model(ids, mask, memory=start, keep_logits="all")
        how: Any = {"size": 10, "alignment": alignment, "memory": start}
        wanted, states = slow_reference.decoder(*given, **how, sink=SINKS)[1:]
        for row, logits in enumerate(wanted):
            assert (out.logits[row][mask[row].bool()] - logits).abs().max() < 1e-10
        assert (out.memory - torch.stack(states)).abs().max() < 1e-10
        assert_sink_is_initial(model, out.memory)
        plain = slow_reference.decoder(*given, **how)[2]
        assert (out.memory - torch.stack(plain))[:, SINKS:].abs().max() > 1e-6, "it matters"


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_an_encoder_equals_the_reference(kind: str) -> None:
    model = make_encoder(kind)
    memory, plain = demand_reference_of_encoder(model, sink=SINKS)
    assert_sink_is_initial(model, memory)
    assert (memory - plain)[:, SINKS:].abs().max() > 1e-6


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
def test_zero_is_the_papers_rmt_bit_by_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build: Any = make if kind in DECODERS else make_encoder
    ids = tokens(2, 23)
    ours = build(kind, 0)(ids)
    # As it was before there were sinks: what comes out of a segment is what the next one reads.
    monkeypatch.setattr(type(build(kind)), "take_up", lambda *states: states[1])
    monkeypatch.setattr(type(build(kind)), "hand_over", lambda *states: states[2])
    wanted = build(kind, 0)(ids)
    assert torch.equal(ours.memory, wanted.memory)
    assert torch.equal(ours.logits, wanted.logits)


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_forward_infer_stream_and_generate_agree(exact: None, kind: str) -> None:
    """With a state that is given, too: what it has at the sink is not read."""
    model, ids = make(kind), tokens(2, 23)
    given = state_of(model, 2)
    other = torch.cat([given[:, :SINKS] + 1, given[:, SINKS:]], dim=1)
    for start, again in ((None, None), (given, other)):
        whole = model(ids, memory=start)
        stream = Stream(model, 2, memory=again)
        for column in range(0, 23, 5):
            stream.feed(ids[:, column : column + 5])
        outs: list[Any] = [model.infer(ids, memory=again), stream.finish()]
        for out in (*outs, model(ids, memory=again)):
            assert (out.logits - whole.logits).abs().max() < 1e-10
            assert (out.memory - whole.memory).abs().max() < 1e-10
            assert_sink_is_initial(model, out.memory)
        made = model.generate(
            ids, memory=again, max_new_tokens=14, eos_token_id=None, return_dict_in_generate=True
        )
        for column in range(23, 37, 1 if THOROUGH else 3):  # as any token, all of it read anew
            wanted = model(made.sequences[:, :column], memory=start).logits[:, -1].argmax(-1)
            assert torch.equal(made.sequences[:, column], wanted), column
        read = model(made.sequences, memory=start)
        assert (made.memory - read.memory).abs().max() < 1e-10
        assert_sink_is_initial(model, made.memory)
    assert (make(kind, 0)(ids).memory - model(ids).memory)[:, SINKS:].abs().max() > 1e-6


@torch.no_grad()
def test_going_on_equals_an_unbroken_run(tmp_path: Path) -> None:
    for model in (make(), make_encoder(alignment="left")):
        ids = tokens(2, 23)
        cut = 3 * model.segment_tokens
        first = model(ids[:, :cut]).memory
        assert_sink_is_initial(model, first)
        assert (model(ids[:, cut:], memory=first).memory - model(ids).memory).abs().max() < 1e-10
    decoder = make()
    stream = Stream(decoder, 2)
    stream.feed(ids[:, :9])
    stream.save(tmp_path / "state.safetensors")
    assert_sink_is_initial(decoder, stream.memory)
    other = Stream(make(), 2)
    other.restore(tmp_path / "state.safetensors")
    other.feed(ids[:, 9:])
    assert (other.finish().memory - decoder(ids).memory).abs().max() < 1e-10


@pytest.mark.parametrize("again", ["no", "checkpoint_segments", "state_by_state", "captured"])
@pytest.mark.parametrize("depth", [None, 1, 2])
def test_the_gradient_of_the_initial_value_comes_from_every_segment(
    depth: int | None, again: str
) -> None:
    """Also after a burn-in, whose state comes without a graph; the state has none at the sink."""
    more: dict[str, Any] = {} if again in ("no", "captured") else {again: True}
    model = make(bptt_segments=depth, **more).train()
    ids, mask = padded([13, 6, 10], 14, True)
    if again == "captured":
        capture_by_rerun(model)
    initial = initial_of(model)
    for start in (None, state_of(model, 3)):
        given = None if start is None else start.clone().requires_grad_()
        slow = None if start is None else start.clone().requires_grad_()
        how: Any = {"size": 10, "alignment": "left", "depth": depth, "memory": slow}
        loss, _, _ = slow_reference.decoder(
            model.backbone, initial, ids, mask, ids, **how, sink=SINKS
        )
        assert loss is not None
        names, parameters = zip(*model.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for _ in range(2):  # what is captured is replayed
            model.zero_grad()
            if given is not None:
                given.grad = None
            model(ids, mask, ids, memory=given).loss.backward()
        for name, parameter, grad in zip(names, parameters, grads, strict=True):
            theirs = torch.zeros_like(parameter) if grad is None else grad
            assert (parameter.grad - theirs).abs().max() < 1e-10, name
        assert initial.grad is not None
        assert initial.grad[:SINKS].abs().min() > 0
        if given is not None and slow is not None:
            (theirs,) = torch.autograd.grad(loss, [slow])
            assert given.grad is not None
            assert (given.grad - theirs).abs().max() < 1e-10
            assert not given.grad[:, :SINKS].any()
            assert given.grad[:, SINKS:].abs().max() > 0


@pytest.mark.parametrize("again", ["no", "checkpoint_segments", "state_by_state", "captured"])
@pytest.mark.parametrize("depth", [None, 1])
def test_an_encoder_is_trained_as_the_reference(depth: int | None, again: str) -> None:
    more: dict[str, Any] = {} if again in ("no", "captured") else {again: True}
    model = make_encoder(bptt_segments=depth, **more).train()
    ids, mask = padded([13, 6, 10], 14, False)
    labels = torch.tensor([0, 2, 1])
    if again == "captured":
        capture_by_rerun(model)
    initial, how = initial_of(model), {"size": 10, "cls": 1, "sep": 2}
    given: Any = {**how, "depth": depth, "sink": SINKS}
    loss = slow_reference.encoder(model.backbone, initial, ids, mask, labels, **given)[0]
    names, parameters = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    for _ in range(2):
        model.zero_grad()
        model(ids, mask, labels=labels).loss.backward()
    for name, parameter, grad in zip(names, parameters, grads, strict=True):
        theirs = torch.zeros_like(parameter) if grad is None else grad
        assert (parameter.grad - theirs).abs().max() < 1e-10, name
    assert initial.grad is not None
    assert initial.grad[:SINKS].abs().min() > 0


def test_another_number_of_them_is_another_captured_step() -> None:
    model, ids = make(), tokens(1, 23)
    capture = capture_by_rerun(model.train())
    losses = []
    for sinks in (SINKS, 0, SINKS):
        model.config.sink_tokens = sinks
        losses.append(float(model(ids, labels=ids).loss.detach()))
        assert abs(losses[-1] - float(make(sinks=sinks)(ids, labels=ids).loss)) < 1e-10
    assert capture.tried == 1, "another key is seen once; the first is found again"
    assert losses[0] == losses[2] != losses[1]
    model.eval()
    held = model.infer(ids)
    (step,) = model.segment_steps.values()
    model.config.sink_tokens = 0
    assert equal(model.infer(ids).memory, make(sinks=0)(ids).memory)
    assert step not in model.segment_steps.values()
    assert not equal(held.memory, model(ids).memory)


@torch.no_grad()
def test_the_lean_and_the_compiled_step_have_it_too() -> None:
    model, ids = make(), tokens(2, 4)
    state = state_of(model, 2)
    wanted, _ = model.step(state, ids)
    found, _ = LeanGPT2(model, 1)(state, ids)
    assert (found - wanted).abs().max() < 1e-10
    assert_sink_is_initial(model, found)
    made: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        made.append(graph)
        return graph.forward

    backend: Any = count
    step = SegmentStep(model, 2, compile_step=True, backend=backend)
    step.start(state)
    step(ids)
    assert (step.state_BME - wanted).abs().max() < 1e-10
    assert len(made) == 1, "one graph, without a break"
    initial_of(model).add_(1)  # weights that are trained on in place are followed
    step.start(state)
    step(ids)
    assert step.fits()
    assert (step.state_BME - model.step(state, ids)[0]).abs().max() < 1e-10
    assert_sink_is_initial(model, step.state_BME)


def test_experts_whose_balance_is_trained() -> None:
    """Their step is one of its own."""
    config = MixtralConfig(
        vocab_size=19,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        output_router_logits=True,
    )
    torch.manual_seed(0)
    inner = AutoModelForCausalLM.from_config(config)
    built = RMTForCausalLM(inner, RMTConfig(10, MEMORY, sink_tokens=SINKS, alignment="left"))
    model, ids = built.train(), tokens(2, 12)
    out = model(ids, labels=ids)
    assert_sink_is_initial(model, out.memory)
    plain = model.eval()(ids)
    assert (out.memory - plain.memory).abs().max() < 1e-5


def test_under_autocast_the_sink_keeps_its_value() -> None:
    model, ids = make(dtype=torch.float32).train(), tokens(2, 13)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(ids, labels=ids)
    assert out.memory.dtype == torch.float32
    assert_sink_is_initial(model, out.memory)


def test_a_dead_band_beside_it() -> None:
    model, ids = make(dead_band=1e6), tokens(1, 23)
    assert equal(model(ids).memory[0], model.memory.initial_ME)
    given = state_of(model, 1)
    out = model(ids, memory=given).memory
    assert torch.equal(out[:, SINKS:], given[:, SINKS:])
    assert equal(out[0, :SINKS], initial_of(model)[:SINKS])


def test_a_memory_that_peft_trains_a_copy_of() -> None:
    model = make(dtype=torch.float32)
    wrapped: Any = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["c_attn"], modules_to_save=["memory"])
    )
    (trained,) = [
        p for name, p in wrapped.named_parameters() if "memory" in name and p.requires_grad
    ]
    with torch.no_grad():
        trained.add_(1)
    out = wrapped(input_ids=tokens(1, 12), labels=tokens(1, 12))
    assert equal(out.memory[0, :SINKS], trained[:SINKS])
    out.loss.backward()
    assert trained.grad[:SINKS].abs().min() > 0


def test_it_is_saved_with_the_model(tmp_path: Path) -> None:
    model, ids = make(), tokens(1, 23)
    model.save_pretrained(tmp_path)
    read = RMTForCausalLM.from_pretrained(tmp_path)
    assert read.config.sink_tokens == SINKS
    assert equal(read.eval()(ids).memory, model(ids).memory)
    assert RMTConfig().sink_tokens == 0


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("compile_step", [False, True])
@pytest.mark.parametrize("kind", DECODERS)
def test_captured_steps_have_the_same_numbers(kind: str, compile_step: bool) -> None:
    slow, ids = make(kind, dtype=torch.float32), tokens(2, 27)
    model, wanted = copy.deepcopy(slow).cuda(), slow(ids)
    out = model.infer(ids, compile_step=compile_step)
    assert (out.memory.cpu() - wanted.memory).abs().max() < 1e-4
    assert (out.logits.cpu() - wanted.logits).abs().max() < 1e-4
    model.train().capture_training()
    slow.train()
    for _ in range(2):
        for one, text in ((model, ids.cuda()), (slow, ids)):
            one.zero_grad()
            one(text, labels=text).loss.backward()
    ours, theirs = (initial_of(one).grad for one in (model, slow))
    assert ours is not None
    assert theirs is not None
    assert (ours.cpu() - theirs).abs().max() < 1e-4
