"""The whole answer: what it says first, which changes it names, and ranges that hold."""

from __future__ import annotations

import pytest

import rmtscale
from rmtscale.costs.segment_choice import possible_segment_sizes, recommend_segment
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


def test_what_fits_says_so_first() -> None:
    found = rmtscale.estimate("gpt2", "a100", "4k", precision="bf16")
    assert found.verdict.startswith("Fits: needs ")
    assert found.change is None
    assert "CUDA context" not in found.verdict


def test_what_fits_hardly_is_said() -> None:
    found = rmtscale.estimate("gpt2", "t4", "4k", precision="fp16", mode="train")
    reserve = found.question.device.memory_bytes - found.full.peak.total - 2**20
    again = rmtscale.estimate("gpt2", "t4", "4k", precision="fp16", mode="train", reserve=reserve)
    assert again.full.fits
    assert "hardly: the CUDA context and fragmentation come on top" in again.verdict


def test_the_cheapest_change_is_the_least_far_reaching_that_fits() -> None:
    found = rmtscale.estimate("gpt2", "t4", "16k", precision="fp16", mode="train")
    assert found.change is not None
    assert found.change.words == "one activation checkpoint per layer"
    checkpointed = rmtscale.estimate_memory(
        "gpt2", "16k", device="t4", precision="fp16", mode="train", checkpoint_layers=True
    )
    assert found.change.peak_bytes == checkpointed.total <= find_device("t4").usable_memory_bytes
    words = " ".join(change.words for change in found.others)
    assert "an RMT of segments of 1024" in words
    longest = rmtscale.make_plan("gpt2", 1, 512, "t4", precision="fp16", mode="train")
    assert f"at most {longest.full_longest_tokens:,} tokens" in words


def test_two_changes_where_one_is_not_enough() -> None:
    found = rmtscale.estimate("gpt2-xl", "a100", "50k", mode="train", batch_size=2)
    assert found.change is not None
    assert " and " in found.change.words
    assert found.change.peak_bytes <= found.question.device.usable_memory_bytes


def test_adapters_are_named_where_all_weights_are_too_many() -> None:
    found = rmtscale.estimate("llama-3-8b", "rtx-4090", "8k", mode="train")
    assert found.change is not None
    assert found.change.words.endswith("QLoRA of rank 16 on weights in nf4")
    larger = rmtscale.estimate("llama-3-8b", "a100-40gb", "8k", mode="train")
    assert larger.change is not None
    assert larger.change.words.endswith("LoRA of rank 16 in place of all weights")
    assert (
        larger.change.peak_bytes
        == rmtscale.estimate_memory(
            "llama-3-8b",
            "8k",
            device="a100-40gb",
            mode="train",
            precision="bf16",
            adapter=Adapter("lora"),
            checkpoint_layers=True,
        ).total
    )


def test_an_adapter_that_is_asked_for_is_in_every_row() -> None:
    lora = rmtscale.estimate("gpt2", "t4", "2k", mode="train", adapter=Adapter("lora"))
    plain = rmtscale.estimate("gpt2", "t4", "2k", mode="train")
    for with_it, without in zip(lora.ways, plain.ways, strict=True):
        assert with_it.peak.total < without.peak.total


def test_nothing_fits() -> None:
    found = rmtscale.estimate("opt-175b", "h200", "1M", mode="train")
    assert found.change is None
    assert "Nothing that is known makes it fit on one device; the least is" in found.verdict


@pytest.mark.parametrize("mode", ["train", "prefill"])
@pytest.mark.parametrize("name", ["gpt2", "bert-base-cased", "llama-3-8b"])
def test_the_recommended_segment_is_the_longest_of_the_good_ones(name: str, mode: str) -> None:
    model, device = PRESETS[name], find_device("h100")
    work = Workload(tokens=60_000, precision="bf16", mode="train" if mode == "train" else "forward")
    chosen, reason = recommend_segment(model, work, 10, device)
    sizes = possible_segment_sizes(model, 10)
    assert chosen.segment_size in sizes
    assert reason.startswith(f"the longest from {sizes[0]} to {sizes[-1]} that fits")

    def good(size: int) -> bool:
        peak = rmtscale.estimate_memory(
            model, work, Recurrence(size, 10), device, checkpoint_segments=mode == "train"
        )
        seconds = [
            rmtscale.estimate_time(
                model, work, device, Recurrence(each, 10), checkpoint_segments=mode == "train"
            ).seconds
            for each in sizes
        ]
        return peak.total <= device.usable_memory_bytes and seconds[sizes.index(size)] <= 1.1 * min(
            seconds
        )

    assert max(size for size in sizes if good(size)) == chosen.segment_size


def test_a_segment_that_no_memory_fits_into_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^segment size 'auto': none of 128, .* leaves room"):
        recommend_segment(PRESETS["gpt2"], Workload(tokens=1), 300, find_device("h100"))


def test_a_recurrent_model_has_an_rmt_as_a_plan_has() -> None:
    found = rmtscale.estimate("mamba2-130m", "l4", "8k", precision="bf16", segment_size=512)
    assert [way.method for way in found.ways] == ["full", "rmt"]
    assert found.no_rmt == ""
    assert found.full.title == "all at once"


def test_a_device_known_for_its_memory_only_gives_no_times() -> None:
    found = rmtscale.estimate("gpt2", "m4-max", "8k", precision="fp16")
    assert {way.time for way in found.ways} == {None}
    assert (
        found.full.peak.total
        == rmtscale.estimate_memory(
            "gpt2", "8k", device="m4-max", precision="fp16", cache=True
        ).total
    )


def test_keys_and_values_in_eight_bits_are_held_in_half() -> None:
    def found(device: str, tokens: str, kv_dtype: str | None = None) -> rmtscale.Estimate:
        return rmtscale.estimate(
            "llama-3-8b", device, tokens, mode="generate", dtype="bf16", kv_dtype=kv_dtype
        )

    plain, small = found("h100", "64k"), found("h100", "64k", "fp8")
    name = "persistent.keys_and_values"
    held = [each.full.peak.by_name()[name] for each in (plain, small)]
    assert held[0] == 2 * held[1]
    change = found("l4", "128k").change
    assert change is not None
    assert "keys and values in fp8" in change.words
    assert change.peak_bytes < 0.97 * find_device("l4").usable_memory_bytes
    with pytest.raises(BadInput, match=r"^kv dtype 'fp8': expected only where a decoder keeps"):
        rmtscale.estimate("gpt2", "t4", "1k", mode="train", kv_dtype="fp8")


def test_an_encoder_writes_no_text() -> None:
    with pytest.raises(BadInput, match=r"^mode 'generate': bert-base-cased writes no text"):
        rmtscale.estimate("bert-base-cased", "l4", "1k", mode="generate")
