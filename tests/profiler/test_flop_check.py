"""The ``matmul`` convention against the real modules, as integers, per operator.

``make verify`` runs every preset at three lengths in both modes; here every preset is counted
once at its full depth, and one model of each kind, four layers of it, in every way.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs import flops as flops_module
from rmtscale.errors import BadInput
from rmtscale.profiler.flop_check import check_flops
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

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


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str) -> None:
    recurrence = Recurrence(128, 10)
    tokens = recurrence.segment_tokens(PRESETS[name]) + 7
    check = check_flops(PRESETS[name], Workload(tokens=tokens, mode="train"))
    assert check.counted_flops == check.predicted_flops
    check = check_flops(PRESETS[name], Workload(tokens=tokens), recurrence)
    assert check.counted_flops == check.predicted_flops


@pytest.mark.parametrize("recurrence", [None, RMT, Recurrence(64, 0)], ids=["full", "rmt", "m=0"])
@pytest.mark.parametrize("name", OF_EACH_KIND)
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "forward"},
        {"mode": "train", "batch_size": 2},
        {"mode": "train", "bptt_segments": 2},
        {"mode": "train", "checkpoint_layers": True},
        {"mode": "train", "checkpoint_layers": True, "dropout": False},
        {"mode": "train", "checkpoint_segments": True},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_every_kind_in_every_way(
    name: str, options: dict[str, object], recurrence: Recurrence | None
) -> None:
    work = Workload(tokens=150, **options)  # type: ignore[arg-type]
    spec = PRESETS[name]
    spec = replace(spec, layers=4, local_layers=2 if spec.local_layers else 0)
    check = check_flops(spec, work, recurrence)
    assert check.counted_flops == check.predicted_flops
    assert check.equal


def test_a_wrong_prediction_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flops_module._BACKWARD_OPERATOR, "bmm", "mm")
    check = check_flops(PRESETS["pythia-14m"], Workload(tokens=32, mode="train"))
    assert not check.equal


def test_more_tokens_than_positions() -> None:
    with pytest.raises(BadInput, match="tokens 1025: expected 1024 or less, the position table"):
        check_flops(PRESETS["gpt2"], Workload(tokens=1025))
