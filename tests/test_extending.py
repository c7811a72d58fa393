"""What is added in its one place is taken everywhere: a device, a cost term, a kind of backbone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rmtscale import api
from rmtscale.costs import conventions
from rmtscale.costs.breakdown import Term
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.operators import count_operators
from rmtscale.costs.roofline import estimate_time
from rmtscale.costs.terms import PassTerm
from rmtscale.errors import BadInput
from rmtscale.profiler.prediction import this_machine
from rmtscale.report.figures import terms
from rmtscale.report.predictions import peak_of
from rmtscale.specs import model as model_module
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.huggingface import to_config
from rmtscale.specs.workload import Workload
from tests.synthetic.records import point, record

GPT2 = PRESETS["gpt2"]
PLAN = ("plan", "--model", "gpt2", "--segment-size", "512", "--mode", "forward")
TRAINING = Workload(tokens=1024, mode="train")


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch) -> str:
    """A GPU that differs from an H200 in its names, its memory and its bandwidth."""
    device = replace(
        DEVICES["h200"],
        name="fake-9000",
        title="NVIDIA Fake 9000",
        driver_names=("NVIDIA Fake 9000 64GB",),
        driver_memory_bytes=64 * 1024**3,
        memory_bytes=63 * 1024**3,
        bandwidth_bytes_per_second=10**12,
    )
    monkeypatch.setitem(DEVICES, device.name, device)
    return device.name


def test_a_device_is_taken_everywhere(
    fake_device: str, rmtscale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fake_device in rmtscale("devices").out
    listed = json.loads(rmtscale("devices", "--format", "json").out)["rows"]
    assert listed[-1]["driver_memory_bytes"] == 64 * 1024**3
    assert listed[-1]["usable_memory_bytes"] == 63 * 1024**3
    longest = {}
    for device in (fake_device, "h200"):
        done = rmtscale(*PLAN, "--device", device, "--format", "json")
        longest[device] = json.loads(done.out)["rows"][0]["full_longest_tokens"]
    assert longest[fake_device] < longest["h200"]
    assert rmtscale(*PLAN, "--device", "NVIDIA Fake 9000 64GB").code == 0
    assert f"did you mean {fake_device}?" in rmtscale(*PLAN, "--device", "fake").err
    for asks in ("profiler.prediction", "records.at_hand"):
        monkeypatch.setattr(
            f"rmtscale.{asks}.open_gpu",
            lambda: SimpleNamespace(name="NVIDIA Fake 9000 64GB", memory_bytes=10**9),
        )
    assert this_machine("cuda").device == find_device(fake_device)
    assert this_machine("cuda").memory_bytes == 63 * 1024**3
    at_hand = rmtscale(*PLAN, "--device", "auto", "--format", "json").out
    assert json.loads(at_hand)["rows"][0]["device"] == fake_device
    assert api.estimate("gpt2", "auto", "1k").question.device.name == fake_device


def test_what_is_reserved_fits_nowhere(rmtscale: Callable[..., Any]) -> None:
    """Every command that says what fits says less where some of the device is left to others."""
    asked = ("--model", "gpt2", "--device", "t4", "--dtype", "fp16", "--format", "json")
    for field, command in {
        "full_longest_tokens": ("plan", "--segment-size", "512", "--mode", "forward"),
        "largest_batch": ("generate-cost", "--context", "1k"),
        "fits": ("memory", "--mode", "train", "--tokens", "10k"),
    }.items():
        given = (*command, *asked)
        whole, left = (
            json.loads(rmtscale(*given, *more).out)["rows"][0][field]
            for more in ((), ("--reserve", "4GiB"))
        )
        assert left < whole
        refused = rmtscale(*given, "--reserve", "15GiB")
        assert (refused.code, refused.err.startswith("error: reserve 15.00 GiB: expected")) == (
            2,
            True,
        )


def test_without_a_gpu_auto_is_refused_in_one_line(
    rmtscale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refused = rmtscale("plan", "--model", "gpt2", "--device", "auto")
    assert refused.code == 2
    assert refused.err.startswith("error: device 'auto': ")
    assert "expected a name of 'rmtscale devices'" in refused.err


@pytest.fixture
def fake_term(monkeypatch: pytest.MonkeyPatch) -> Iterator[PassTerm]:
    """One matmul more in every pass: 10^15 FLOPs, and 10^12 numbers that are moved."""
    term = PassTerm("fake", 10**15, "mm", elements=10**12, in_block=False)
    plain = conventions.TERMS_OF["matmul"]
    monkeypatch.setitem(conventions.TERMS_OF, "matmul", lambda *given: (*plain(*given), term))
    conventions.pass_terms.cache_clear()
    yield term
    conventions.pass_terms.cache_clear()


def test_a_cost_term_is_taken_everywhere(fake_term: PassTerm, rmtscale: Callable[..., Any]) -> None:
    by_name = estimate_flops(GPT2, TRAINING, convention="matmul").by_name()
    assert by_name["forward.fake"] == fake_term.flops
    assert by_name["backward.fake"] == 2 * fake_term.flops
    h200 = find_device("h200")
    seconds = estimate_time(GPT2, TRAINING, h200).terms["forward.fake"]
    assert seconds > 4 * 10**12 / h200.bandwidth_bytes_per_second
    asked = (
        "flops",
        "--model",
        "gpt2",
        "--convention",
        "matmul",
        "--tokens",
        "1024",
        "--breakdown",
    )
    assert "forward.fake" in rmtscale(*asked).out
    for row in json.loads(rmtscale(*asked, "--format", "json").out)["rows"]:
        assert row["terms"]["forward.fake"] >= fake_term.flops


def test_a_memory_term_is_drawn_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = record(point())
    plain = terms.predicted_terms(measured)

    def with_fake(*given: Any) -> Any:
        peak = peak_of(*given)
        return replace(peak, terms=(*peak.terms, Term("transient", "fake", 1000)))

    monkeypatch.setattr(terms, "peak_of", with_fake)
    assert terms.predicted_terms(measured) == plain | {terms.OTHER: plain[terms.OTHER] + 1000}


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: estimate_memory(model, TRAINING),
        lambda model: count_operators(model, TRAINING),
        to_config,
    ],
)
def test_a_kind_that_is_only_listed_gives_one_clear_line(
    ask: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "KINDS", (*model_module.KINDS, "fake"))
    with pytest.raises(BadInput, match=r"^model kind 'fake': .* not known, expected one of .*opt"):
        ask(replace(GPT2, kind="fake"))
