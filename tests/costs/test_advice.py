"""Changes that pay: named only where they do, with the difference of two predictions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.advice import (
    LEAST_SHARE,
    Advice,
    advice_words,
    advise,
    changes_of,
    padded_vocabulary,
)
from rmtscale.costs.time_range import predicted_step
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

H200 = find_device("h200")
GPT2, LLAMA = PRESETS["gpt2"], PRESETS["llama-3.2-1b"]
TRAIN = Workload(tokens=16_000, mode="train", precision="bf16")


def names(*asked: object) -> list[str]:
    return [one.name for one in advise(*asked)]  # type: ignore[arg-type]


def test_what_pays_where() -> None:
    assert names(GPT2, TRAIN, H200) == ["padded_vocabulary"]
    assert names(GPT2, replace(TRAIN, precision="fp32"), H200) == [], "fp32 has no slow kernels"
    assert names(LLAMA, replace(TRAIN, tokens=4000), H200) == ["fused_adamw"]
    assert names(LLAMA, replace(TRAIN, tokens=4000, optimizer="adamw-fused"), H200) == []
    assert names(GPT2, replace(TRAIN, tokens=100), H200) == [], "the host sets the pace"
    padded = replace(GPT2, vocabulary=padded_vocabulary(GPT2.vocabulary))
    assert names(padded, TRAIN, H200) == []


def test_what_pays_for_an_rmt() -> None:
    design = Recurrence(1000, 2)
    found = advise(GPT2, TRAIN, H200, design)
    assert [one.name for one in found] == ["capture", "capture_compile"]
    assert {one.bound for one in found} == {"host"}
    captured = replace(TRAIN, capture=True)
    assert "compile" in names(GPT2, captured, H200, design)
    assert "padded_vocabulary" in names(GPT2, captured, H200, design)
    assert not {"capture", "compile"} & set(names(GPT2, TRAIN, H200))


@pytest.mark.parametrize("design", [None, Recurrence(500, 2)])
def test_a_saving_is_the_difference_of_two_predictions(design: Recurrence | None) -> None:
    without = predicted_step(GPT2, TRAIN, H200, design)
    changes = {one.name: one for one in changes_of(GPT2, TRAIN, design)}
    found = advise(GPT2, TRAIN, H200, design)
    assert found
    for one in found:
        other = changes[one.name]
        with_it = predicted_step(other.model, other.work, H200, design)
        assert without is not None
        assert with_it is not None
        assert one.saved_seconds == without.seconds - with_it.seconds
        assert one.step_seconds == without.seconds
        assert LEAST_SHARE * one.step_seconds < one.least_seconds
        assert one.least_seconds <= one.saved_seconds <= one.most_seconds


def test_nothing_is_advised_where_kernels_are_not_known() -> None:
    from rmtscale.costs.methods.catalog import find_method

    assert names(GPT2, TRAIN, H200, find_method("sliding-window", GPT2)) == []
    assert names(GPT2, TRAIN, find_device("apple-m4-max-128gb")) == []


def test_its_words() -> None:
    fused = Advice("fused_adamw", "fused AdamW", 9.1e-3, 6e-3, 12e-3, 44e-3, "device")
    assert advice_words("RMT", []) == ""
    assert advice_words("RMT", [fused]) == "RMT: fused AdamW saves 9.1 ms of 44 ms."
    assert advice_words("RMT", [fused._replace(bound="host")]).startswith("RMT, bound by the host:")
