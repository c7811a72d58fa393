"""Mixed precision, adapters and micro-batches against the real modules on ``meta``.

What autograd keeps is equal as an integer; whole peaks are within 3 % of all tensors alive.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.layer_shape import TAPED_KINDS
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.peak_candidates import Step
from rmtscale.costs.taped_step import TapedStep, has_tape
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

pytest.importorskip("peft")
import torch

from rmtscale.profiler.adapters import with_adapter
from rmtscale.profiler.real_module import class_of_config, real_module
from tests.costs import oracle_memory as oracle
from tests.grids import covering
from tests.specs.tiny_configs import TINY

pytestmark = pytest.mark.usefixtures("remembered_shapes")
FAMILIES = (
    *("gpt2", "opt-125m", "opt-350m", "gpt-neo-125m", "pythia-70m", "llama-2-7b", "llama-3-8b"),
    "bert-base-cased",
)
LORA, EVERY, PARALLEL = Adapter("lora", 4), Adapter("lora", 4, "all"), Adapter("parallel", 4)
KEPT: list[dict[str, Any]] = [
    {"precision": "amp-bf16"},
    {"precision": "fp32", "adapter": LORA},
    {"precision": "bf16", "adapter": EVERY},
    {"precision": "amp-bf16", "adapter": EVERY},
    {"precision": "bf16", "adapter": PARALLEL},
    {"precision": "amp-bf16", "adapter": PARALLEL},
]
STEPS: list[dict[str, Any]] = [
    {"precision": "amp-bf16", "optimizer": "adamw"},
    {"precision": "amp-bf16", "accumulate": 2},
    {"accumulate": 2},
    {"precision": "bf16", "adapter": EVERY},
    {"precision": "amp-bf16", "adapter": LORA, "optimizer": "adamw"},
    {"adapter": PARALLEL, "accumulate": 2},
]


def label(given: Any) -> str | None:
    if isinstance(given, Recurrence):
        return "rmt"
    if not isinstance(given, dict):
        return "full" if given is None else None
    return "-".join(getattr(one, "kind", str(one)) for one in given.values())


def kept(spec: ModelSpec, work: Workload) -> int:
    """Bytes that the backbone keeps, its output as well, and the ids of a trained embedding."""
    segment = TapedStep(spec, work, 0).segment(work.tokens, work.tokens)
    ids = 8 * work.batch_size * work.tokens * (work.adapter is None)
    return sum(segment.backbone) - segment.read + segment.output + ids


@pytest.mark.parametrize(
    ("name", "attention", "settings"),
    covering(FAMILIES, ["eager", "sdpa"], KEPT, together=2),
    ids=label,
)
def test_what_is_kept_equals_autograds_list(
    name: str, attention: str, settings: dict[str, Any]
) -> None:
    adapter = settings.get("adapter")
    if name.startswith("bert") and adapter is not None and adapter.lora:
        pytest.skip("names of an encoder's linear layers are not known")
    spec = oracle.shrink(PRESETS[name], 2)
    off = not oracle.dropout_is_fused(spec, attention, settings["precision"])
    work = Workload(
        tokens=33, mode="train", attention=attention, dropout=False if off else None, **settings
    )
    assert kept(spec, work) == oracle.saved_by_backbone(spec, work)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_tape_equals_the_closed_forms(name: str, attention: str, precision: str) -> None:
    """Two derivations of one number: where both hold they are equal."""
    for layers, batch, tokens, dropout in ((2, 1, 33, None), (4, 2, 96, False)):
        spec = oracle.shrink(PRESETS[name], layers)
        work = Workload(
            tokens=tokens,
            batch_size=batch,
            mode="train",
            attention=attention,
            precision=precision,
            dropout=dropout,
        )
        closed = Step(spec, work, 0).segment(tokens, tokens)
        taped = TapedStep(spec, work, 0).segment(tokens, tokens)
        assert sum(taped.layer) == sum(closed.layer)
        assert sum(taped.backbone) == sum(closed.backbone)


@pytest.mark.parametrize(
    ("kind", "settings"),
    covering(sorted(TAPED_KINDS), [{"precision": "bf16"}, *KEPT[:4]]),
    ids=label,
)
def test_types_read_layer_by_layer(kind: str, settings: dict[str, Any]) -> None:
    """Mixtures of experts run on the CPU, where the tokens of each expert have values."""
    spec = from_config(TINY[kind], kind)
    assert isinstance(spec, LayeredSpec)
    work = Workload(tokens=33, mode="train", attention="eager", dropout=False, **settings)
    assert has_tape(spec, work, None)
    device = "cpu" if spec.groups[0][0].feed_forward.experts else "meta"
    whole: Any = real_module(
        json.loads(spec.config),
        class_of_config(TINY[kind], kind),
        kind,
        experts_by=None,
        device=device,
        dtype=oracle.DTYPES[work.casts.weights],
    ).train()
    backbone = whole.base_model
    if work.adapter is not None:
        whole = with_adapter(whole, work.adapter, spec)
    ids = torch.zeros(1, work.tokens, dtype=torch.long, device=device)

    def run() -> Any:
        with oracle.autocast_of(work):
            last = backbone(input_ids=ids, use_cache=False).last_hidden_state
        return last.square()

    with oracle.as_on_the_gpu(), torch.device(device):
        assert kept(spec, work) == oracle.saved_bytes(run, whole)


@pytest.mark.parametrize(
    ("name", "recurrence", "settings"),
    covering(["gpt2", "llama-3-8b"], [None, Recurrence(72, 4)], STEPS, together=2),
    ids=label,
)
def test_peaks_of_whole_steps(
    name: str, recurrence: Recurrence | None, settings: dict[str, Any]
) -> None:
    spec = replace(oracle.shrink(PRESETS[name], 2), vocabulary=400)
    given = {"optimizer": "none"} | settings
    work = Workload(tokens=128, mode="train", dropout=False, **given)
    real = oracle.measure_step(spec, work, recurrence).peak
    assert estimate_memory(spec, work, recurrence).total == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize(
    ("name", "recurrence", "attention"),
    covering(FAMILIES, [None, Recurrence(72, 4)], ["eager", "sdpa"], together=2),
    ids=label,
)
def test_peaks_of_forward_passes_under_autocast(
    name: str, recurrence: Recurrence | None, attention: str
) -> None:
    """No cast of a weight is kept in inference: the largest is there beside what is computed."""
    spec = replace(oracle.shrink(PRESETS[name], 2), vocabulary=400)
    logits = "last" if spec.decoder else "all"
    work = Workload(tokens=256, precision="amp-bf16", attention=attention, logits=logits)
    real = oracle.measure_step(spec, work, recurrence).peak
    assert estimate_memory(spec, work, recurrence).total == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_segments_share_copies_and_sums_of_gradients(accumulate: int) -> None:
    """At the width of a real Llama, where they are most: no copy stays beside its gradient."""
    spec = replace(PRESETS["llama-3.2-1b"], layers=4, vocabulary=400)
    work = Workload(
        tokens=512,
        mode="train",
        precision="amp-bf16",
        optimizer="none",
        dropout=False,
        accumulate=accumulate,
    )
    recurrence = Recurrence(132, 2)
    real = oracle.measure_step(spec, work, recurrence).peak
    assert estimate_memory(spec, work, recurrence).total == pytest.approx(real, rel=0.01)
