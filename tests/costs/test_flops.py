"""FLOPs against numbers worked out elsewhere, against slow arithmetic, and against themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.costs.conventions import CONVENTIONS
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import block_matrix_weights
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

RMT = Recurrence(512, 10)


@pytest.mark.parametrize(
    ("model", "tokens", "mode", "convention", "flops"),
    [
        ("opt-175b", 2048, "forward", "matmul", 734_805_016_707_072),
        ("opt-125m", 512, "forward", "matmul", 136_172_273_664),
        ("opt-125m", 512, "train", "matmul", 408_516_820_992),
        ("opt-125m", 2048, "forward", "hoffmann", 820_607_188_992),
        ("opt-175b", 2048, "forward", "hoffmann", 737_451_253_432_320),
    ],
)
def test_independent_numbers(
    model: str, tokens: int, mode: str, convention: str, flops: int
) -> None:
    work = Workload(tokens=tokens, mode=mode)  # type: ignore[arg-type]
    assert estimate_flops(PRESETS[model], work, None, convention).total == flops


def slow_hoffmann(model: ModelSpec, s: int) -> int:
    """Appendix F written as loops over layers, for a standard decoder."""
    d, h, k, v = model.width, model.heads, model.head_width, model.vocabulary
    total = 2 * s * v * d
    for _ in range(model.layers):
        total += 2 * 3 * s * d * (k * h)
        total += 2 * s * s * (k * h)
        total += 3 * h * s * s
        total += 2 * s * s * (k * h)
        total += 2 * s * (k * h) * d
        total += 2 * s * (d * model.mlp_width + d * model.mlp_width)
    return total + 2 * s * d * v


def slow_paper(model: ModelSpec, s: int) -> int:
    d, h = model.width, model.heads
    return model.layers * (24 * s * d**2 + s**2 * (4 * d + 10 * h)) + 2 * s * model.vocabulary * d


def slow_kaplan(model: ModelSpec, s: int) -> int:
    return s * (2 * block_matrix_weights(model) + 2 * model.layers * s * model.width)


SLOW = {"hoffmann": slow_hoffmann, "paper": slow_paper, "kaplan": slow_kaplan}
STANDARD = ["opt-125m", "opt-175b", "gpt2-xl", "pythia-12b", "gpt-neo-1.3b"]


@pytest.mark.parametrize("convention", SLOW)
@pytest.mark.parametrize("name", STANDARD)
@given(s=st.integers(1, 3_000_000))
@settings(max_examples=20)
def test_published_formulas(name: str, convention: str, s: int) -> None:
    model = PRESETS[name]
    ours = estimate_flops(model, Workload(tokens=s), None, convention)
    assert ours.total == SLOW[convention](model, s)
    assert estimate_flops(model, Workload(tokens=s, mode="train"), None, convention).total == (
        3 * ours.total
    )


@given(
    tokens=st.integers(1, 20_000),
    text=st.integers(1, 600),
    memory=st.integers(0, 12),
    convention=st.sampled_from(["hoffmann", "matmul", "kaplan"]),
    name=st.sampled_from(["pythia-70m", "llama-3-8b", "gpt2", "opt-350m"]),
)
@settings(max_examples=100)
def test_an_rmt_is_the_sum_of_its_segments(
    tokens: int, text: int, memory: int, convention: str, name: str
) -> None:
    """Cut by hand, token by token: each segment is a full pass of its true size."""
    model = PRESETS[name]
    recurrence = Recurrence(text + 2 * memory, memory)
    ours = estimate_flops(model, Workload(tokens=tokens), recurrence, convention).total
    total, left = 0, tokens
    while left:
        taken = min(left, text)
        left -= taken
        size = taken + 2 * memory
        total += estimate_flops(model, Workload(tokens=size), None, convention).total
        if convention == "matmul":  # the head is on the text only
            total -= 2 * (2 * memory) * model.embedding_width * model.vocabulary
    assert ours == total


@given(
    tokens=st.integers(1, 5000),
    batch=st.integers(1, 5),
    mode=st.sampled_from(["forward", "train"]),
    convention=st.sampled_from(CONVENTIONS),
    name=st.sampled_from(["gpt2", "bert-base-cased", "opt-350m", "llama-3-8b"]),
    recurrence=st.sampled_from([None, Recurrence(128, 4), Recurrence(100, 0)]),
    checkpoint=st.sampled_from(["", "checkpoint_segments", "checkpoint_layers"]),
)
@settings(max_examples=150)
def test_terms_sum_and_batches_add(
    tokens: int,
    batch: int,
    mode: str,
    convention: str,
    name: str,
    recurrence: Recurrence | None,
    checkpoint: str,
) -> None:
    options = {"tokens": tokens, "mode": mode} | ({checkpoint: True} if checkpoint else {})
    one = estimate_flops(PRESETS[name], Workload(**options), recurrence, convention)  # type: ignore[arg-type]
    many = estimate_flops(
        PRESETS[name],
        Workload(batch_size=batch, **options),  # type: ignore[arg-type]
        recurrence,
        convention,
    )
    assert one.total == sum(one.by_name().values())
    assert all(isinstance(term.amount, int) and term.amount > 0 for term in one.terms)
    assert many.total == batch * one.total
    if convention == "matmul":
        assert sum(one.by_operator().values()) == one.total
    phases = {term.phase for term in one.terms}
    assert phases <= {"forward", "backward", "recompute"}
    assert ("backward" in phases) == (mode == "train")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_full_attention_is_quadratic_and_rmt_linear(convention: str) -> None:
    model = PRESETS["opt-125m"]

    def cost(tokens: int, recurrence: Recurrence | None) -> int:
        return estimate_flops(model, Workload(tokens=tokens), recurrence, convention).total

    long = 492 * 512 * 100
    assert cost(2 * long, RMT) == 2 * cost(long, RMT)
    second = cost(3000, None) - 2 * cost(2000, None) + cost(1000, None)
    assert second == cost(5000, None) - 2 * cost(4000, None) + cost(3000, None) > 0


def test_checkpoints_recompute_the_forward_pass_but_for_the_head() -> None:
    model = PRESETS["gpt2"]
    work = Workload(tokens=5000, mode="train", checkpoint_segments=True)
    phases = {"forward": 0, "backward": 0, "recompute": 0}
    terms = estimate_flops(model, work, RMT, "matmul")
    for term in terms.terms:
        phases[term.phase] += term.amount
    assert phases["recompute"] == phases["forward"] - terms.by_name()["forward.head"]
    assert phases["backward"] == 2 * phases["forward"]
    plain = Workload(tokens=5000, mode="train")
    assert estimate_flops(model, work, None, "matmul") == estimate_flops(
        model, plain, None, "matmul"
    )


def test_a_classifier_trains_the_segments_its_gradient_reaches() -> None:
    """Loss on the last segment: BPTT over k of 5 segments costs k backward passes."""
    model = PRESETS["bert-base-cased"]
    recurrence = Recurrence(512, 10)

    def backward(depth: int | None, memory: Recurrence = recurrence) -> int:
        work = Workload(tokens=5 * 499, mode="train", bptt_segments=depth)
        terms = estimate_flops(model, work, memory, "matmul").terms
        return sum(t.amount for t in terms if t.phase == "backward" and t.name != "head")

    assert backward(2) == 2 * backward(1)
    assert backward(None) == backward(5) == backward(9) == 5 * backward(1)
    assert backward(None, Recurrence(512, 0)) == backward(1, Recurrence(512, 0))


def test_a_language_model_has_a_loss_in_every_segment() -> None:
    model = PRESETS["gpt2"]
    whole = Workload(tokens=5000, mode="train")
    cut = Workload(tokens=5000, mode="train", bptt_segments=1)
    assert estimate_flops(model, whole, RMT) == estimate_flops(model, cut, RMT)


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(BadInput, match="convention 'mine': expected one of hoffmann, matmul"):
        estimate_flops(PRESETS["gpt2"], Workload(tokens=1), None, "mine")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_segment_that_cannot_be_is_refused_by_every_convention(convention: str) -> None:
    with pytest.raises(BadInput, match="expected more than 20"):
        estimate_flops(PRESETS["gpt2"], Workload(tokens=1), Recurrence(20, 10), convention)
