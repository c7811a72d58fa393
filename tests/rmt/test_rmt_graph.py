"""The captured and compiled segment step; without CUDA it falls back to the same numbers."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rmtscale.errors import BadInput
from rmtscale.rmt import (
    RMTConfig,
    RMTForCausalLM,
    RMTForSequenceClassification,
    SegmentStep,
    inference,
)
from rmtscale.rmt.families import classify
from rmtscale.rmt.outputs import RMTCausalLMOutput
from tests.rmt.comparing import equal
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def make(
    kind: str = "gpt2", dtype: torch.dtype = torch.float64, alignment: str = "right"
) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(
        backbone(kind, dtype), RMTConfig(8, 2, alignment=alignment)
    ).eval()
    return model


def make_encoder(kind: str, dtype: torch.dtype = torch.float64) -> RMTForSequenceClassification:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2)
    model: RMTForSequenceClassification = RMTForSequenceClassification(
        backbone(kind, dtype), config
    ).eval()
    return model


def assert_same(ours: RMTCausalLMOutput, theirs: RMTCausalLMOutput) -> None:
    assert equal(ours.logits, theirs.logits)
    assert equal(ours.memory, theirs.memory)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the fallback is for machines without CUDA")
@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("kind", DECODERS)
def test_without_cuda_a_graph_asked_for_is_the_eager_step(kind: str, alignment: str) -> None:
    model = make(kind, alignment=alignment)
    for columns in (2, 4, 11, 12):
        ids = tokens(2, columns)
        wanted = model(ids)
        for choice in (None, True, False):
            out = model.infer(ids, cuda_graph=choice)
            assert_same(out, wanted)
    assert not SegmentStep(model, 2, cuda_graph=True).uses_graph


@pytest.mark.skipif(torch.cuda.is_available(), reason="the fallback is for machines without CUDA")
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_s_step_keeps_all_that_its_head_reads(kind: str) -> None:
    model, ids = make_encoder(kind), tokens(2, 15)
    step = SegmentStep(model, 2)
    for begin in (0, 5, 10):
        step(ids[:, begin : begin + 5])
    wanted = model(ids)
    assert step.kept_BKE.shape[1] == 10
    assert equal(classify(model.backbone, step.kept_BKE, None), wanted.logits)
    assert equal(step.state_BME, wanted.memory)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_mask_of_full_rows_changes_nothing(kind: str) -> None:
    """Full rows run without one."""
    model, ids = make_encoder(kind), tokens(2, 5)
    state = model.memory(model.embedding_VE, 2)
    without, masked = model.step(state, ids), model.step(state, ids, torch.tensor([5, 5]))
    assert without[2] is None
    assert masked[2] is not None
    assert equal(without[1], masked[1])


def test_compiled_equals_eager_within_rounding() -> None:
    model, ids = make(dtype=torch.float32), tokens(1, 8)
    step = SegmentStep(model, compile_step=True, backend="aot_eager")
    step(ids[:, :4])
    step(ids[:, 4:])
    wanted = model(ids)
    logits = model.get_output_embeddings()(step.last_B1E)
    assert (logits - wanted.logits).abs().max() < 1e-5
    assert (step.state_BME - wanted.memory).abs().max() < 1e-5


def test_going_on_and_keeping_no_logits() -> None:
    model, ids = make(), tokens(1, 12)
    first = model.infer(ids[:, :8], keep_logits="none")
    assert first.logits is None
    early = model(ids[:, :8]).memory
    assert_same(model.infer(ids[:, 8:], memory=first.memory), model(ids))
    assert equal(first.memory, early), "results are not overwritten"


def test_a_step_is_reused_until_the_weights_move() -> None:
    model, ids = make(), tokens(1, 8)
    model.infer(ids)
    step = next(iter(model.segment_steps.values()))
    model.infer(ids)
    assert next(iter(model.segment_steps.values())) is step
    model.to(torch.float32)
    out = model.infer(ids)
    assert next(iter(model.segment_steps.values())) is not step
    assert out.logits is not None
    assert out.logits.dtype == torch.float32
    assert copy.deepcopy(model).segment_steps == {}


def test_memory_does_not_depend_on_the_length() -> None:
    """No tensor of the loop is as large as the input, whatever its length."""
    model = make(dtype=torch.float32)
    largest: list[int] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self,
            func: Any,
            types: Any,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                largest[-1] = max(largest[-1], out.untyped_storage().nbytes())
            return out

    for columns in (40, 480):
        largest.append(0)
        watch = Watch()  # type: ignore[no-untyped-call]
        with watch, torch.no_grad():
            model.infer(tokens(1, columns))
            model(tokens(1, columns))
    assert largest[0] == largest[1]


def test_bad_input_is_refused() -> None:
    model = make()
    with pytest.raises(BadInput, match="model in training mode"):
        make().train().infer(tokens(1, 8))
    with pytest.raises(BadInput, match="keep_logits 'all': expected one of none, last"):
        model.infer(tokens(1, 8), keep_logits="all")
    with pytest.raises(BadInput, match="input_ids with id 19"):
        model.infer(torch.tensor([[19]]))
    with pytest.raises(BadInput, match="memory of shape"):
        model.infer(tokens(1, 8), memory=torch.zeros(2, 2, 8))


class _Replays(SegmentStep):
    """Claims to have a graph, and runs the step."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.uses_graph = True
        self.runs: list[int] = []

    def __call__(self, ids_BL: torch.Tensor) -> None:
        new_BME, text_BLE = self.model.step(self.state_BME, ids_BL)
        self.start(new_BME)
        self.last_B1E.copy_(text_BLE[:, -1:].detach())
        self.runs.append(ids_BL.shape[1])


@pytest.mark.parametrize("alignment", ["right", "left"])
def test_shorter_segments_are_captured_when_they_come_again(
    alignment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "SegmentStep", _Replays)
    monkeypatch.setattr(inference, "SHORTER", 2)
    model = make(alignment=alignment)
    runs: list[int] = []
    for call, columns in enumerate([11, 11, 11, 10, 10, 9, 9, 8, 10]):
        ids = tokens(2, columns, seed=call)
        assert_same(model.infer(ids), model(ids))
        kept = [step for step in model.segment_steps.values() if step is not None]
        runs = [sum(step.runs.count(size) for step in kept) for size in (1, 2, 3)]
    # Of three calls with three tokens at the end two ran captured, but two lengths are kept.
    assert runs == [1, 2, 0]


@CUDA
@pytest.mark.gpu
def test_a_capture_stands_another_thread_that_locks_memory() -> None:
    """As the one that makes the batches of a training does."""
    over, pinned = threading.Event(), []

    def lock() -> None:
        size = 1
        while not over.is_set():
            pinned.append(torch.empty(size := size % 65_536 + 4_099).pin_memory())

    other = threading.Thread(target=lock)
    other.start()
    try:
        ids = tokens(2, 27).cuda()
        for _ in range(20):
            model = make("gpt_neox", torch.float32).cuda()
            model.infer(ids)
            assert next(iter(model.segment_steps.values())).uses_graph
    finally:
        over.set()
        other.join()
    assert pinned


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("compile_step", [False, True])
@pytest.mark.parametrize("kind", DECODERS)
def test_the_captured_step_equals_eager(kind: str, compile_step: bool) -> None:
    model = make(kind, torch.float32).cuda()
    ids = tokens(2, 27).cuda()
    wanted, out = model(ids), model.infer(ids, compile_step=compile_step)
    assert (out.logits - wanted.logits).abs().max() < 1e-4
    assert (out.memory - wanted.memory).abs().max() < 1e-4
    # The second call captures the shorter segment too, whose rounding is another with GPT-2 alone.
    again, third = (model.infer(ids, compile_step=compile_step) for _ in range(2))
    assert (again.logits - wanted.logits).abs().max() < 1e-4
    assert torch.equal(again.logits, third.logits)
    assert kind == "gpt2" or torch.equal(out.logits, again.logits)
    step = next(iter(model.segment_steps.values()))
    assert step.uses_graph == (compile_step or kind != "gpt_neo")


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("compile_step", [False, True])
@pytest.mark.parametrize("kind", ENCODERS)
def test_the_captured_step_of_an_encoder_equals_eager(kind: str, compile_step: bool) -> None:
    model = make_encoder(kind, torch.float32).cuda()
    ids = tokens(2, 25).cuda()
    wanted = model(ids)
    for _ in range(2):
        step = SegmentStep(model, 2, compile_step=compile_step)
        for begin in range(0, 25, 5):
            step(ids[:, begin : begin + 5])
        assert step.uses_graph
        logits = classify(model.backbone, step.kept_BKE, None)
        assert (logits - wanted.logits).abs().max() < 1e-4
        assert (step.state_BME - wanted.memory).abs().max() < 1e-4
