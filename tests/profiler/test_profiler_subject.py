"""What is measured is what is predicted: every kind of step, counted by torch as it runs."""

from __future__ import annotations

from collections.abc import Callable
from logging import Handler
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtscale.profiler.prediction import predict
from rmtscale.profiler.real_module import matmul_flops
from rmtscale.profiler.subject import Subject, warm_libraries
from rmtscale.records.point import Point
from rmtscale.rmt.build import build_backbone
from rmtscale.specs.adapter import Adapter
from tests.grids import covering

KINDS = ["gpt2", "opt-125m", "opt-350m", "gpt-neo-125m", "pythia-14m", "llama-3.2-1b"]
ENCODER = "bert-base-cased"
TRAIN = {"mode": "train", "optimizer": "adamw"}
RMT = {"method": "rmt", "segment_size": 24, "memory_tokens": 2}
FULL_STEPS: list[dict[str, Any]] = [
    {"logits": "all"},
    {"logits": "last"},
    {**TRAIN, "dropout": True},
    {**TRAIN, "checkpoint_layers": True},
    {**TRAIN, "batch_size": 2},
]
RMT_STEPS: list[dict[str, Any]] = [
    {"logits": "last"},
    {"logits": "last", "batch_size": 2},
    TRAIN,
    {**TRAIN, "dropout": True},
    {**TRAIN, "checkpoint_segments": True},
    {**TRAIN, "bptt_segments": 2},
]


def counted(point: Point) -> int:
    subject = Subject(point)
    subject.step()
    with FlopCounterMode(display=False) as counter:
        subject.step()
    return sum(matmul_flops(counter).values())


def label(given: Any) -> str | None:
    if not isinstance(given, dict):
        return None
    return "-".join(str(value) for value in given.values()) or "full"


@pytest.mark.parametrize(("name", "step"), covering(KINDS, FULL_STEPS), ids=label)
def test_full(
    name: str, step: dict[str, Any], point: Callable[..., Point], tiny: Callable[[str], Any]
) -> None:
    one = point(model=tiny(name), tokens=50, attention="eager", **step)
    assert counted(one) == predict(one).flops


@pytest.mark.parametrize(("name", "step"), covering(KINDS, RMT_STEPS), ids=label)
def test_rmt(
    name: str, step: dict[str, Any], point: Callable[..., Point], tiny: Callable[[str], Any]
) -> None:
    one = point(model=tiny(name), tokens=50, attention="eager", **RMT, **step)
    assert counted(one) == predict(one).flops


@pytest.mark.parametrize("step", [{}, TRAIN], ids=["forward", "train"])
@pytest.mark.parametrize("method", [{}, RMT], ids=["full", "rmt"])
def test_an_encoder(
    method: dict[str, Any],
    step: dict[str, Any],
    point: Callable[..., Point],
    tiny: Callable[[str], Any],
) -> None:
    one = point(model=tiny(ENCODER), tokens=50, attention="eager", **method, **step)
    assert counted(one) == predict(one).flops


ADAPTABLE = ["gpt2", "opt-125m", "pythia-14m", "llama-3.2-1b"]
ADAPTED: list[dict[str, Any]] = [
    {"adapter": Adapter("lora", 4)},
    {"adapter": Adapter("lora", 4, "all")},
    {"adapter": Adapter("parallel", 4)},
    {"adapter": Adapter("lora", 4), "accumulate": 2},
]


@pytest.mark.parametrize(
    ("name", "method", "step"), covering(ADAPTABLE, [{}, RMT], ADAPTED, together=2), ids=label
)
def test_adapters(
    name: str,
    method: dict[str, Any],
    step: dict[str, Any],
    point: Callable[..., Point],
    tiny: Callable[[str], Any],
) -> None:
    one = point(model=tiny(name), tokens=50, attention="eager", **method, **step, **TRAIN)
    assert counted(one) == predict(one).flops


def test_beyond_the_position_table(point: Callable[..., Point], tiny: Callable[[str], Any]) -> None:
    for name in ("gpt2", "opt-125m", "gpt-neo-125m", ENCODER):
        one = point(model=tiny(name), tokens=200, attention="eager")
        assert one.raised_positions == 200
        assert counted(one) == predict(one).flops


def test_state_between_steps(point: Callable[..., Point], tiny: Callable[[str], Any]) -> None:
    """A training step frees its gradients, changes the weights and keeps the optimizer's state."""
    one = point(model=tiny("gpt2"), tokens=50, **TRAIN, **RMT, dropout=True)
    subject = Subject(one)
    assert subject.model.training
    before = [parameter.clone() for parameter in subject.model.parameters()]
    subject.step()
    after = list(subject.model.parameters())
    assert all(parameter.grad is None for parameter in after)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert Subject(point(model=tiny("gpt2"), tokens=50)).model.training is False


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-fused", "sgd", "none"])
def test_every_optimizer(
    optimizer: str, point: Callable[..., Point], tiny: Callable[[str], Any]
) -> None:
    subject = Subject(point(model=tiny("gpt2"), tokens=20, mode="train", optimizer=optimizer))
    before = [parameter.detach().clone() for parameter in subject.model.parameters()]
    subject.step()
    after = list(subject.model.parameters())
    moved = any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert moved == (optimizer != "none")


@pytest.mark.parametrize("method", [{}, RMT], ids=["full", "rmt"])
@pytest.mark.parametrize("name", [*KINDS, ENCODER])
def test_libraries_are_warmed_by_every_kind(
    name: str, method: dict[str, Any], point: Callable[..., Point], tiny: Callable[[str], Any]
) -> None:
    with FlopCounterMode(display=False) as counter:
        warm_libraries(point(model=tiny(name), tokens=60, attention="eager", **method))
    assert counter.get_total_flops() > 0


@pytest.mark.parametrize(
    "name", ["gpt2", "opt-125m", "llama-3.2-1b", "pythia-160m", "gpt-neo-125m", "bert-base-uncased"]
)
def test_a_toy_is_built_without_warnings(name: str, tiny: Callable[[str], Any]) -> None:
    from transformers.utils import logging

    said: list[str] = []
    handler = Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    before = logging.get_verbosity()
    logging.add_handler(handler)
    logging.set_verbosity_warning()
    try:
        module: Any = build_backbone(tiny(name))
    finally:
        logging.set_verbosity(before)
        logging.remove_handler(handler)
    assert said == []
    assert module.loss_type is not None


def test_dtype_and_dropout(point: Callable[..., Point], tiny: Callable[[str], Any]) -> None:
    for method in ({}, RMT):
        one = point(model=tiny("gpt2"), tokens=50, precision="bf16", **method, **TRAIN)
        model = Subject(one).model
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
        assert rates == {0.0}
    shipped = Subject(point(model=tiny("gpt2"), tokens=50, **TRAIN, dropout=True)).model
    assert {m.p for m in shipped.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_real_weights(
    point: Callable[..., Point], tiny: Callable[[str], Any], tmp_path: Any
) -> None:
    model: Any = build_backbone(tiny("gpt2"), device="cpu")
    model.save_pretrained(tmp_path)
    for method in ({}, RMT):
        one = point(model=tiny("gpt2"), tokens=50, checkpoint=str(tmp_path), **method)
        subject = Subject(one)
        loaded = subject.model.get_input_embeddings().weight
        assert torch.equal(loaded, model.get_input_embeddings().weight)
        subject.step()


def test_weights_that_are_not_there(
    point: Callable[..., Point], tiny: Callable[[str], Any], tmp_path: Any
) -> None:
    one = point(model=tiny("gpt2"), tokens=50, checkpoint=str(tmp_path))
    with pytest.raises(ValueError, match="checkpoint"):
        Subject(one)
