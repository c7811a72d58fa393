"""Which steps and segments are captured, by the formulas and by the RMT itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rmtscale.costs.captured_steps import (
    captures_too,
    graph_streams,
    runs_captured,
    trains_captured,
    why_not_captured,
)
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.terms import MemoryTerm
from rmtscale.costs.time_range import step_seconds
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layered import LayeredSpec
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
READ_BY_LAYER = ("qwen2", "mistral", "mamba")
WORKSPACE = f"persistent.{MemoryTerm.LIBRARY_WORKSPACE}"


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


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", [*(kind for kind in PRESET_OF if kind != "bert"), *READ_BY_LAYER])
def test_segments_are_captured_where_the_rmt_captures_them(kind: str, compiled: bool) -> None:
    """A backbone that is run by its own forward reads eagerly: no graph, and no streams for it."""
    pytest.importorskip("torch")
    from rmtscale.rmt import RMTConfig, RMTForCausalLM
    from rmtscale.rmt.graph import captures_segments
    from tests.rmt.tiny_models import backbone
    from tests.rmt.tiny_types import tiny_model

    by_layer = kind in READ_BY_LAYER
    built = tiny_model(kind) if by_layer else backbone(kind)
    model = from_config(built.config.to_dict()) if by_layer else PRESETS[PRESET_OF[kind]]
    assert isinstance(model, LayeredSpec) == by_layer
    work, design = Workload(tokens=20, compile_step=compiled), Recurrence(8, 1)
    captured = captures_segments(RMTForCausalLM(built, RMTConfig(8, 1)), compiled=compiled)
    assert runs_captured(model, work, design) == captured
    unasked, asked, never = (
        estimate_memory(model, work, design, H200, cuda_graph=graph).by_name()
        for graph in (None, True, False)
    )
    assert unasked == asked
    workspaces = asked[WORKSPACE] // H200.library_workspace_bytes
    # 20 tokens are three segments of 6 tokens, and one of 2.
    assert workspaces == 1 + captured * graph_streams(model, work, design) == 1 + captured * 3
    assert never[WORKSPACE] == H200.library_workspace_bytes


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
