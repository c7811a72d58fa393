"""Properties of the memory estimate, and the figures measured on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.optimizers import MOMENTS
from rmtscale.costs.parameters import count_parameters
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import ATTENTIONS, MODES, OPTIMIZERS, Mode, Workload

GIB = 2**30
GPT2 = PRESETS["gpt2"]

models = st.sampled_from(sorted(PRESETS)).map(PRESETS.__getitem__)
recurrences = st.one_of(st.none(), st.builds(Recurrence, st.integers(64, 512), st.integers(0, 20)))
workloads = st.builds(
    Workload,
    tokens=st.integers(1, 100_000),
    batch_size=st.integers(1, 8),
    mode=st.sampled_from(MODES),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    attention=st.sampled_from(ATTENTIONS),
    optimizer=st.sampled_from(OPTIMIZERS),
    dropout=st.sampled_from([None, False]),
    bptt_segments=st.one_of(st.none(), st.integers(1, 8)),
    checkpoint_segments=st.booleans(),
)


@given(models, workloads, recurrences)
def test_terms_are_whole_bytes_and_sum_to_the_peak(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None
) -> None:
    peak = estimate_memory(model, workload, recurrence)
    assert all(type(term.amount) is int for term in peak.terms)
    assert sum(peak.by_name().values()) == peak.total
    names = peak.by_name()
    assert all(amount > 0 for amount in names.values())
    assert peak.total >= names["persistent.weights"] + names.get("persistent.optimizer_state", 0)


@given(models, workloads, recurrences, st.integers(1, 5000))
def test_more_tokens_never_need_less(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None, more: int
) -> None:
    longer = replace(workload, tokens=workload.tokens + more)
    now = estimate_memory(model, workload, recurrence).total
    assert estimate_memory(model, longer, recurrence).total >= now


@given(models, workloads, recurrences)
def test_a_larger_batch_never_needs_less(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None
) -> None:
    # From two samples on: one alone lets GPT-NeoX keep views where a batch makes copies.
    two, three = (replace(workload, batch_size=size) for size in (2, 3))
    less = estimate_memory(model, two, recurrence).total
    assert estimate_memory(model, three, recurrence).total >= less


@given(models, st.integers(2, 60), st.sampled_from(MODES))
def test_rmt_forward_is_constant_in_length(model: ModelSpec, segments: int, mode: Mode) -> None:
    """But for the ids; with one segment of BPTT in training, but for the targets as well."""
    recurrence = Recurrence(128, 4)
    text = recurrence.segment_tokens(model)
    two, more = (
        estimate_memory(
            model,
            Workload(tokens=n * text, mode=mode, bptt_segments=1),
            recurrence,
        ).by_name()
        for n in (2, segments)
    )
    assert more.pop("persistent.token_ids") == segments * text * 8
    two.pop("persistent.token_ids")
    if mode == "forward":
        assert two == more
    else:
        assert 0 <= sum(more.values()) - sum(two.values()) <= (segments - 2) * text * 8


@given(models, recurrences, st.sampled_from(OPTIMIZERS))
def test_weights_count_each_parameter_once(
    model: ModelSpec, recurrence: Recurrence | None, optimizer: str
) -> None:
    parts = {
        dtype: estimate_memory(
            model,
            Workload(tokens=600, mode="train", precision=dtype, optimizer=optimizer),
            recurrence,
        ).by_name()
        for dtype in ("fp32", "bf16")
    }
    weights = parts["fp32"]["persistent.weights"]
    memory = recurrence.memory_tokens * model.embedding_width if recurrence else 0
    assert weights == 4 * (count_parameters(model).total + memory)
    assert weights == 2 * parts["bf16"]["persistent.weights"]
    if optimizer in MOMENTS:
        state = parts["fp32"].get("persistent.optimizer_state", 0)
        assert state == MOMENTS[optimizer] * weights


@given(models, st.integers(600, 20_000), st.integers(1, 10))
def test_fewer_segments_kept_never_need_more(model: ModelSpec, tokens: int, depth: int) -> None:
    def total(**fields: Any) -> int:
        return estimate_memory(
            model, Workload(tokens=tokens, mode="train", **fields), Recurrence(128, 2)
        ).total

    # One window of all segments finds no gradients; more windows do, and then hold the weights'.
    gradients = 4 * (count_parameters(model).total + 2 * model.embedding_width)
    assert total(bptt_segments=depth) <= total() + gradients
    # A recomputed head is differentiated when there are gradients, a fused one when there are none.
    assert total(checkpoint_segments=True) <= total() + gradients


def test_where_the_peak_is_follows_the_length() -> None:
    def peak_at(tokens: int, **fields: Any) -> str:
        workload = Workload(tokens=tokens, mode="train", dropout=False, **fields)
        return estimate_memory(GPT2, workload).peak_at

    assert peak_at(64) == "in the optimizer step"
    assert peak_at(1024) == "where the loss is differentiated"
    assert peak_at(16_000, attention="eager") == "in the last layer's attention, backward"
    assert estimate_memory(GPT2, Workload(tokens=1024, logits="all")).peak_at == "at the logits"


def test_foreach_adamw_takes_one_copy_of_the_weights_more_than_fused() -> None:
    foreach, fused = (
        estimate_memory(GPT2, Workload(tokens=8, mode="train", optimizer=name)).total
        for name in ("adamw", "adamw-fused")
    )
    assert foreach - fused <= 4 * count_parameters(GPT2).total
    assert foreach > fused


def test_a_segment_without_room_is_refused() -> None:
    with pytest.raises(BadInput, match="segment size 8: expected more than 20"):
        estimate_memory(GPT2, Workload(tokens=100), Recurrence(8, 10))
