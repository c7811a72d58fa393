"""Properties of the memory estimate, and the figures measured on a GPU."""

from __future__ import annotations

import timeit
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.moments import OPTIMIZER_STATE
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
    dtype=st.sampled_from(["fp32", "bf16", "fp16"]),
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
            Workload(tokens=600, mode="train", dtype=dtype, optimizer=optimizer),
            recurrence,
        ).by_name()
        for dtype in ("fp32", "bf16")
    }
    weights = parts["fp32"]["persistent.weights"]
    memory = recurrence.memory_tokens * model.embedding_width if recurrence else 0
    assert weights == 4 * (count_parameters(model).total + memory)
    assert weights == 2 * parts["bf16"]["persistent.weights"]
    assert (
        parts["fp32"].get("persistent.optimizer_state", 0) == OPTIMIZER_STATE[optimizer] * weights
    )


@settings(deadline=None)
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


def test_the_moment_of_the_peak_follows_the_length() -> None:
    def moment(tokens: int, **fields: Any) -> str:
        workload = Workload(tokens=tokens, mode="train", dropout=False, **fields)
        return estimate_memory(GPT2, workload).moment

    assert moment(64) == "in the optimizer step"
    assert moment(1024) == "where the loss is differentiated"
    assert moment(16_000, attention="eager") == "in the last layer's attention, backward"
    assert estimate_memory(GPT2, Workload(tokens=1024)).moment == "at the logits"


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


def test_an_estimate_is_quick() -> None:
    workload = Workload(tokens=32_000, mode="train")
    recurrence = Recurrence(512, 10)

    def seconds() -> float:
        return timeit.timeit(lambda: estimate_memory(GPT2, workload, recurrence), number=200) / 200

    assert min(seconds() for _ in range(5)) < 200e-6  # 30 to 60 us on an idle core


# ---- measured on one H200, torch 2.11 -----------------------------------------------------------

WORKSPACE = 0.10 * GIB
"""What that card held besides any tensor of ours (cuBLAS workspaces): the same 0.10 GiB at every
length of the RMT columns. Not modelled; added here."""
RMT_500, RMT_1000 = Recurrence(504, 2), Recurrence(1004, 2)  # 500 and 1000 text tokens
CHECKPOINTED = {"checkpoint_segments": True}
# GiB of a training step of GPT-2 small, fp32, batch 1, AdamW, dropout off.
TRAIN: dict[int, tuple[float | None, ...]] = {
    1_000: (3.81, 3.27, 2.85, 3.02, 2.72, 3.02),
    4_000: (17.2, 8.65, 6.43, 6.52, 2.73, 3.48),
    8_000: (53.9, 15.8, 11.2, 11.2, 2.74, 3.49),
    16_000: (None, 30.2, 20.8, 20.6, 2.77, 3.51),  # None: out of memory on 139 GiB
}
TRAIN_COLUMNS: tuple[tuple[Recurrence | None, dict[str, Any]], ...] = (
    (None, {"attention": "eager"}),
    (None, {}),
    (RMT_500, {}),
    (RMT_1000, {}),
    (RMT_500, CHECKPOINTED),
    (RMT_1000, CHECKPOINTED),
)


def gpt2(tokens: int) -> ModelSpec:
    """GPT-2 with a position table of ``tokens`` rows, as full attention was measured."""
    rows = max(tokens, 1024)
    return replace(GPT2, positions=rows, position_rows=rows)


def predicted_gib(tokens: int, recurrence: Recurrence | None, cache: bool, **fields: Any) -> float:
    """The estimate, with the workspace and, if the run had one, a KV cache beside it."""
    workload = Workload(tokens=tokens, **fields)
    model = GPT2 if recurrence else gpt2(tokens)
    total = estimate_memory(model, workload, recurrence).total + WORKSPACE
    if cache and recurrence is None:  # the prototype left Hugging Face's default, use_cache, on
        total += 2 * model.layers * model.kv_width * tokens * workload.dtype_bytes
    return total / GIB


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("tokens", TRAIN)
def test_measured_training_steps(tokens: int, column: int) -> None:
    """Full attention within 3 %; without workspace and cache the estimates are 1 to 5 % low.

    The RMT of that table was a prototype, whose loss kept the log-probabilities of every segment:
    what it needed is an upper bound for ours.
    """
    recurrence, fields = TRAIN_COLUMNS[column]
    found = predicted_gib(tokens, recurrence, True, mode="train", dropout=False, **fields)
    measured = TRAIN[tokens][column]
    if measured is None:
        assert found > 139
    elif recurrence is None:
        assert found == pytest.approx(measured, rel=0.03)
    else:
        assert 0.8 * measured < found < measured


@pytest.mark.parametrize(("tokens", "measured"), [(4_000, 27.5), (6_000, 54.8), (8_000, None)])
def test_measured_training_with_dropout(tokens: int, measured: float | None) -> None:
    """Eager attention, dropout 0.1, 80 GiB allowed: within 3 %, out of memory where it was."""
    found = predicted_gib(tokens, None, True, mode="train", attention="eager")
    if measured is None:
        assert found > 80
    else:
        assert found == pytest.approx(measured, rel=0.03)


# GiB of inference. The process of that table held something else besides, more at each length
# (0.1, 0.4 and 0.5 GiB in full attention and RMT, fp32 and bf16 alike): rows are compared by
# their differences, in which it cancels. The last column is the prototype's RMT, which formed the
# logits of whole segments (0.19 GiB) where ours forms those of the last token.
INFERENCE: dict[int, tuple[float | None, ...]] = {
    4_000: (2.55, 1.74, 0.99, 0.82),
    16_000: (26.3, 5.13, 2.82, 1.08),
    64_000: (None, 17.8, 9.22, 1.21),
}
SEGMENT_LOGITS_GIB = 4 * 1000 * GPT2.vocabulary / GIB


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("tokens", INFERENCE)
def test_measured_inference(tokens: int, column: int) -> None:
    """What full attention takes over RMT (fp32, segment 1000): within 2 % or 0.02 GiB.

    More than over the prototype, by no more than the logits of a segment.
    """
    fields = ({"attention": "eager"}, {}, {"dtype": "bf16"})[column]
    found = predicted_gib(tokens, None, True, **fields) - predicted_gib(tokens, RMT_1000, False)
    measured, rmt = INFERENCE[tokens][column], INFERENCE[tokens][3]
    assert rmt is not None
    if measured is None:
        assert found > 139
    else:
        slack = max(0.02 * measured, 0.02)
        assert -slack <= found - (measured - rmt) <= SEGMENT_LOGITS_GIB + slack


@pytest.mark.parametrize("tokens", INFERENCE)
def test_rmt_needs_less_in_inference_than_the_prototype(tokens: int) -> None:
    measured = INFERENCE[tokens][3]
    assert measured is not None
    assert predicted_gib(tokens, RMT_1000, False) < measured


def test_measured_memory_of_rmt_does_not_grow() -> None:
    """2,048,000 tokens in bf16 took 0.35 to 0.48 GiB at any length."""
    found = predicted_gib(2_048_000, RMT_1000, False, dtype="bf16")
    assert 0.35 <= found <= 0.48
