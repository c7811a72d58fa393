"""Which training steps are captured, by the formulas and by the RMT itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rmtscale.costs.captured_steps import captures_too, trains_captured, why_not_captured
from rmtscale.costs.time_range import step_seconds
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

TRAIN = Workload(tokens=4000, mode="train", precision="bf16", dropout=False)
H200 = find_device("h200")
PRESET_OF = {
    "gpt2": "gpt2",
    "opt": "opt-125m",
    "gpt_neo": "gpt-neo-125m",
    "gpt_neox": "pythia-70m",
    "llama": "llama-3.2-1b",
    "bert": "bert-base-cased",
}


@pytest.mark.parametrize("kind", PRESET_OF)
@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_rmt_refuses_the_same(kind: str, checkpoint: bool, precision: str) -> None:
    torch = pytest.importorskip("torch")
    from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
    from rmtscale.rmt.capturable import refusal
    from tests.rmt.tiny_models import backbone

    wrap = RMTForSequenceClassification if kind == "bert" else RMTForCausalLM
    ends: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2} if kind == "bert" else {}
    rmt = wrap(backbone(kind), RMTConfig(8, 1, checkpoint_segments=checkpoint, **ends))
    rmt.to(torch.half if precision == "fp16" else torch.bfloat16)
    drops = any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in rmt.train().modules())
    work = replace(TRAIN, checkpoint_segments=checkpoint, precision=precision)
    model = PRESETS[PRESET_OF[kind]]
    work = replace(work, dropout=None if drops and model.hidden_dropout else False)
    assert bool(refusal(rmt)) == bool(why_not_captured(model, work))


def test_dropout_under_checkpoints_runs_eagerly() -> None:
    model, design = PRESETS["gpt2"], Recurrence(1000, 2)
    work = replace(TRAIN, capture=True, dropout=None)
    assert trains_captured(model, work, design)
    assert not trains_captured(model, replace(work, checkpoint_segments=True), design)
    assert not trains_captured(model, work, None), "full attention is not"
    assert captures_too(model, TRAIN, design)
    assert not captures_too(model, work, design), "it is captured as asked"
    refused = replace(work, checkpoint_segments=True)
    eager = replace(refused, capture=False)
    assert step_seconds(model, refused, H200, design) == step_seconds(model, eager, H200, design)


@pytest.mark.parametrize("name", ["gpt2", "opt-350m", "llama-3.2-1b"])
def test_each_step_towards_the_device_is_faster(name: str) -> None:
    model: ModelSpec = PRESETS[name]
    ways = [
        replace(TRAIN, capture=capture, compile_step=compiled)
        for capture, compiled in ((False, False), (True, False), (True, True))
    ]
    seconds = [step_seconds(model, work, H200, Recurrence(500, 2)) for work in ways]
    for slower, faster in pairwise(seconds):
        assert faster.most_seconds < slower.most_seconds
        assert faster.least_seconds < slower.least_seconds


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(BadInput, match="compile True: expected with capture in a training"):
        replace(TRAIN, compile_step=True)
    with pytest.raises(BadInput, match="capture with mode 'forward': expected train"):
        Workload(tokens=1, capture=True)
