"""Gradients in fixed buffers, burn-ins of batches; on a GPU, captured steps against eager ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from rmtscale.rmt.capture import GraphCapture
from rmtscale.study.figures.memory_tasks.recipes import quick
from rmtscale.study.training import loop
from rmtscale.study.training.gradients import Gradients, can_capture, flat_gradients
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import Interval
from rmtscale.study.training.prefetch import Batch
from tests.rmt.stand_in_capture import StandInCapture
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_tokenizer import save_tokenizer
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
EVERY_STAGE_STEPS = 48
"""Of ``tiny_settings``: eight steps of each of four stages, the last of them with a burn-in."""


@pytest.fixture(scope="module")
def objective(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MemoryObjective]:
    """Makes one with a made-up background: the text of Python takes its time."""
    background = str(write_background(tmp_path_factory.mktemp("text")))

    def make(**more: Any) -> MemoryObjective:
        settings = replace(quick("memorize"), background=background, vocabulary_words=120)
        return MemoryObjective(replace(settings, batch_size=4, burn_in=(6,), **more))

    return make


def some_batches(made: MemoryObjective, count: int = 12) -> list[Batch]:
    current = len(made.stages) - 1
    return [made.batch(step, current) for step in range(count)]


@pytest.mark.parametrize("capture", [None, StandInCapture()])
def test_each_call_begins_with_gradients_of_zero(capture: StandInCapture | None) -> None:
    model = torch.nn.Linear(3, 1)
    unused = torch.nn.Linear(2, 2)
    both = torch.nn.ModuleDict({"used": model, "unused": unused})
    both.forward = lambda x: model(x).sum()
    gradients = Gradients(both, torch.autograd.backward, capture=capture)
    buffers = [parameter.grad for parameter in both.parameters()]
    for scale in (1.0, 2.0):
        given = torch.full((5, 3), scale)
        loss, correct, told_loss = gradients(given)
        assert told_loss is None
        assert correct is None
        assert not loss.requires_grad
        torch.testing.assert_close(model.weight.grad, torch.full((1, 3), 5 * scale))
    for parameter in unused.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
    for parameter, buffer in zip(both.parameters(), buffers, strict=True):
        assert parameter.grad is buffer


def test_gradients_lie_in_one_buffer_of_each_dtype() -> None:
    """Each laid out as its parameter, none upon another; what is frozen has none."""
    model = torch.nn.ParameterList(
        [
            torch.nn.Parameter(torch.zeros(3, 5).t()),
            torch.nn.Parameter(torch.zeros(7, dtype=torch.bfloat16)),
            torch.nn.Parameter(torch.zeros(2), requires_grad=False),
            torch.nn.Parameter(torch.zeros(())),
            torch.nn.Parameter(torch.zeros(2, 4)),
        ]
    )
    buffers = flat_gradients(model)
    assert sorted(str(flat.dtype) for flat in buffers) == ["torch.bfloat16", "torch.float32"]
    assert model[2].grad is None
    trained = [parameter for parameter in model if parameter.requires_grad]
    for number, parameter in enumerate(trained, 1):
        assert parameter.grad.stride() == parameter.stride()
        parameter.grad.fill_(number)
    for number, parameter in enumerate(trained, 1):
        assert (parameter.grad == number).all()
    assert sum(float(flat.sum()) for flat in buffers) == 15 + 2 * 7 + 3 + 4 * 8


def test_a_batch_with_a_burn_in_is_its_end_and_the_state_before_it(
    objective: Callable[..., MemoryObjective],
) -> None:
    made = objective()
    burned_in = [batch for batch in some_batches(made, 40) if batch.constant]
    assert burned_in, "half of the batches are"
    for batch in burned_in[:3]:
        made.learner.train()
        ids, answers, state, *_ = made.inputs(batch, CPU)
        assert made.learner.training
        assert ids.shape[1] == made.stages[-1].tokens
        assert torch.equal(ids, batch.inputs[0][:, -ids.shape[1] :])
        with torch.no_grad():
            whole, _ = made.learner(*batch.inputs[:2])
            tail, _ = made.learner(ids, answers, state)
        torch.testing.assert_close(tail, whole, rtol=1e-5, atol=1e-6)


def test_a_batch_without_a_burn_in_is_whole(objective: Callable[..., MemoryObjective]) -> None:
    made = objective()
    batch = next(batch for batch in some_batches(made, 40) if not batch.constant)
    ids, answers, state, *_ = made.inputs(batch, CPU)
    assert state is None
    assert torch.equal(ids, batch.inputs[0])
    assert torch.equal(answers, batch.inputs[1])


def test_pieces_of_facts_are_for_training_only(objective: Callable[..., MemoryObjective]) -> None:
    plain, fragmented = objective(), objective(fact_fragments=0.2)
    sizes: dict[str, Any] = {"tokens": 200, "segment_tokens": plain.learner.segment_tokens}
    for split, same in (("validation", True), ("train", False)):
        one = plain.data.batches(**sizes, split=split).batch(0)
        other = fragmented.data.batches(**sizes, split=split).batch(0)
        assert (one.ids == other.ids).all() == same


@pytest.mark.parametrize(
    ("backbone", "more", "expected"),
    [
        ("gpt-neox-tiny", {}, True),
        ("gpt2-tiny", {}, True),
        ("gpt-neox-tiny", {"checkpoint_segments": True}, False),
        ("gpt-neo-tiny", {}, False),
        ("bert-tiny", {}, True),
        ("modernbert-tiny", {}, True),
        ("bert-tiny", {"checkpoint_segments": True}, False),
    ],
)
def test_what_can_be_captured(backbone: str, more: dict[str, Any], expected: bool) -> None:
    settings = MemoryTaskSettings(backbone=backbone, segment_size=16, memory_tokens=2, **more)
    assert can_capture(Predictor(build_rmt(settings, 40, 6))) is expected


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_captured_steps_are_the_eager_ones(tmp_path: Path, precision: str, compiled: bool) -> None:
    """The losses of whole trainings, through all stages and burn-ins."""
    settings = tiny_settings(
        write_background(tmp_path / "text"),
        steps=EVERY_STAGE_STEPS,
        validate_every=EVERY_STAGE_STEPS,
        precision=precision,
        compile_step=compiled,
        replay_lost=True,
    )
    losses = {}
    for graph in (False, True):
        watched = Watched()
        folder = tmp_path / str(graph)
        loop.train(replace(settings, cuda_graph=graph), folder, device="cuda", observer=watched)
        losses[graph] = torch.tensor(watched.losses)
        assert "burn-in" in watched.stages[-1]
    # Nothing is drawn and no sum is taken in another order; compiled code may round differently.
    torch.testing.assert_close(losses[True][:5], losses[False][:5], rtol=2e-2, atol=2e-2)
    assert losses[True][-1] < losses[True][0]


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_captured_encoder_steps_are_the_eager_ones(
    tmp_path: Path, kind: str, precision: str
) -> None:
    """Through stages and burn-ins, and with a BERT's dropout: both drop the same."""
    settings = tiny_settings(
        write_background(tmp_path / "text"),
        backbone=f"{kind}-tiny",
        steps=EVERY_STAGE_STEPS,
        validate_every=EVERY_STAGE_STEPS,
        precision=precision,
    )
    if kind == "bert":
        with_dropout = build_rmt(settings, 300, 6).backbone
        with_dropout.config.hidden_dropout_prob = 0.1
        with_dropout.config.attention_probs_dropout_prob = 0.1
        with_dropout.save_pretrained(tmp_path / "backbone")
        save_tokenizer(tmp_path / "backbone")
        settings = replace(settings, backbone=str(tmp_path / "backbone"))
    losses = {}
    for graph in (False, True):
        watched = Watched()
        folder = tmp_path / str(graph)
        loop.train(replace(settings, cuda_graph=graph), folder, device="cuda", observer=watched)
        losses[graph] = torch.tensor(watched.losses)
        assert "burn-in" in watched.stages[-1]
    torch.testing.assert_close(losses[True][:3], losses[False][:3], rtol=2e-2, atol=2e-2)


@GPU
@pytest.mark.gpu
def test_a_captured_step_drops_what_an_eager_one_drops() -> None:
    """Also the step that captures; another seed drops something else."""
    settings = MemoryTaskSettings(backbone="bert-tiny", segment_size=24, memory_tokens=2)
    rmt = build_rmt(settings, 40, 6).cuda().train()
    for module in rmt.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    answerer = Answerer(rmt, range(6)).cuda()
    ids = torch.randint(4, 40, (3, 50), device="cuda")
    answers = torch.tensor([0, 1, 2], device="cuda")
    found = {}
    for capture in (False, True):
        how = GraphCapture() if capture else None
        gradients = Gradients(answerer, torch.autograd.backward, capture=how)
        losses = []
        for seed in (7, 8, 7):
            torch.manual_seed(seed)
            loss, *_ = gradients(ids, answers, None)
            losses.append(float(loss))
        grads = [one.grad.clone() for one in answerer.parameters() if one.grad is not None]
        found[capture] = losses, grads
        assert losses[0] == pytest.approx(losses[2], rel=1e-5)
        assert abs(losses[0] - losses[1]) > 1e-4
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-4)
    for captured, eager in zip(found[True][1], found[False][1], strict=True):
        torch.testing.assert_close(captured, eager, rtol=1e-3, atol=1e-5)


@GPU
@pytest.mark.gpu
def test_captured_text_is_the_eager_one(tmp_path: Path) -> None:
    settings = tiny_text_settings(
        write_text(tmp_path / "text"),
        segments=3,
        steps=60,
        stage_steps=20,
        log_every=10,
        validate_every=30,
        precision="fp32",
    )
    losses = {}
    for graph in (False, True):
        watched = Watched()
        folder = tmp_path / str(graph)
        loop.train(replace(settings, cuda_graph=graph), folder, device="cuda", observer=watched)
        losses[graph] = torch.tensor(watched.losses)
    torch.testing.assert_close(losses[True], losses[False], rtol=1e-3, atol=1e-3)


@pytest.fixture(autouse=True)
def any_precision() -> None:
    """Accelerate allows one precision for all of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


class Watched(loop.NullObserver):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.stages: list[str] = []

    def interval(self, interval: Interval) -> None:
        self.losses.append(interval.loss)
        self.stages.append(interval.stage_name)
