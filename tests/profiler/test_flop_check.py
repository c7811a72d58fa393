"""The ``matmul`` convention against the real modules, as integers, per operator.

``make verify`` runs every preset at its full depth, at three lengths in both modes; here it has two
layers. Of one model of each kind half of the ways are counted, so that each kind meets each way,
with memory or without; all of them in ``make verify``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs import flops as flops_module
from rmtscale.errors import BadInput
from rmtscale.profiler.flop_check import FlopCheck, check_flops, real_build
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Mode, Workload
from tests.grids import THOROUGH, covering
from tests.meta_shapes import RememberedShapes
from tests.specs.tiny_configs import TINY

OF_EACH_KIND = [
    "opt-125m",
    "opt-350m",
    "gpt2",
    "bert-base-cased",
    "gpt-neo-125m",
    "pythia-70m",
    "llama-3.2-1b",
]
RMT = Recurrence(64, 4)
WAYS: list[dict[str, object]] = [
    {"mode": "forward"},
    {"mode": "train", "batch_size": 2},
    {"mode": "train", "bptt_segments": 2},
    {"mode": "train", "checkpoint_layers": True},
    {"mode": "train", "checkpoint_layers": True, "dropout": False},
    {"mode": "train", "checkpoint_segments": True},
]


def shallow(name: str, layers: int) -> ModelSpec:
    """A preset with fewer layers; of a GPT-Neo half of them are local."""
    spec = PRESETS[name]
    layers = min(layers, spec.layers)
    return replace(spec, layers=layers, local_layers=layers // 2 if spec.local_layers else 0)


def checked(*given: Any) -> FlopCheck:
    with RememberedShapes():
        return check_flops(*given)


@pytest.mark.parametrize(("name", "mode"), covering(PRESETS, ["train", "forward"]))
def test_every_preset(name: str, mode: Mode) -> None:
    """Its true width: a training step of full attention, or a forward pass of an RMT."""
    recurrence, spec = Recurrence(128, 10), shallow(name, 2)
    work = Workload(tokens=recurrence.segment_tokens(spec) + 7, mode=mode)
    check = checked(spec, work, recurrence if mode == "forward" else None)
    assert check.counted_flops == check.predicted_flops


def test_at_its_full_depth() -> None:
    spec = PRESETS["gpt2-xl"]
    assert spec.layers == 48
    check = checked(spec, Workload(tokens=64), RMT)
    assert check.counted_flops == check.predicted_flops


@pytest.mark.parametrize(
    ("name", "options", "recurrence"),
    [
        pytest.param(name, way, recurrence, id=f"{name}-{'-'.join(map(str, way.values()))}-{kind}")
        for row, name in enumerate(OF_EACH_KIND)
        for column, way in enumerate(WAYS)
        for at, (kind, recurrence) in enumerate((("full", None), ("rmt", RMT)))
        if THOROUGH or (row + column + at) % 3 == 0
    ],
)
def test_every_kind_in_every_way(
    name: str, options: dict[str, object], recurrence: Recurrence | None
) -> None:
    work = Workload(tokens=150, **options)  # type: ignore[arg-type]
    check = checked(shallow(name, 2), work, recurrence)
    assert check.counted_flops == check.predicted_flops
    assert check.equal


@pytest.mark.parametrize(("name", "mode"), covering(OF_EACH_KIND, ["forward", "train"]))
def test_every_kind_without_memory(name: str, mode: Mode) -> None:
    assert checked(shallow(name, 2), Workload(tokens=150, mode=mode), Recurrence(64, 0)).equal


def test_a_wrong_prediction_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flops_module.BACKWARD_OPERATORS, "bmm", "mm")
    check = checked(PRESETS["pythia-14m"], Workload(tokens=32, mode="train"))
    assert not check.equal


def test_more_tokens_than_positions() -> None:
    with pytest.raises(BadInput, match="tokens 1025: expected 1024 or less, the position table"):
        check_flops(PRESETS["gpt2"], Workload(tokens=1025))


AROUND = ("qwen3", "gemma2", "mixtral", "deepseek_v3", "mamba", "jamba", "gpt_oss", "roberta")
NOT_AROUND = {"gemma4_text", "electra", "albert", "bart", "t5", "mt5", "whisper"}
"""Types that look up ids in their layers, or are no decoder and no encoder of one width."""
WITHOUT_HEAD = {kind for kind in TINY if kind.endswith(("_vl_text", "_vl_moe_text"))}
ENCODERS = {"bert", "roberta", "camembert", "xlm-roberta", "distilbert", "mpnet", "modernbert"}


@pytest.mark.parametrize(
    ("kind", "mode"),
    covering(
        sorted(set(TINY) - NOT_AROUND - WITHOUT_HEAD) if THOROUGH else AROUND, ["train", "forward"]
    ),
)
def test_an_rmt_around_every_type_with_a_row(kind: str, mode: Mode) -> None:
    row = ROWS[kind]
    name = f"{row.prefix}{'ForSequenceClassification' if kind in ENCODERS else row.default_class}"
    reading = read(TINY[kind], "tiny", name)
    work = Workload(tokens=40, mode=mode)
    check = checked(reading.spec, work, Recurrence(20, 2), real_build(reading))
    assert check.predicted_flops == check.counted_flops


@pytest.mark.parametrize("kind", ["gemma4_text", "bart"])
def test_an_rmt_that_is_not_counted_says_why(kind: str) -> None:
    reading = read(TINY[kind], "tiny", f"{ROWS[kind].prefix}{ROWS[kind].default_class}")
    with pytest.raises(BadInput, match=r"cannot be run without values|an encoder of its own"):
        check_flops(reading.spec, Workload(tokens=40), Recurrence(20, 2), real_build(reading))
