"""Which changes are named, in which order, and how many; each with the peak that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import rmtscale
from rmtscale.costs.changes import cheapest_change
from rmtscale.costs.estimate import answer
from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.question import PIECE_TOKENS, Question, peak_of
from rmtscale.costs.time_range import operators, slow_end
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.quantization.reading import quantize
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

GPT2, A100 = PRESETS["gpt2"], find_device("a100-80gb")
RMT = Recurrence(512, 10)


def question(**given: Any) -> Question:
    work = {"tokens": 4096, "precision": "fp32", "batch_size": 4, **given}
    mode = work.pop("mode", "train")
    return Question(model=GPT2, device=A100, workload=Workload(**work), mode=mode)


def with_room(asked: Question, room: int) -> Question:
    """The same on a device of which so many bytes are ample."""
    device = asked.device
    for _ in range(3):
        more = device.ample_memory_bytes - room
        device = replace(device, reserved_bytes=device.reserved_bytes + round(more / 0.97))
    return replace(asked, device=device)


def full(model: ModelSpec, **settings: Any) -> int:
    given: dict[str, Any] = {"tokens": 4096, "precision": "fp32", "batch_size": 4, **settings}
    work = Workload(mode="train", **given)
    return rmtscale.estimate_memory(model, work, device=A100).total


def test_three_changes_an_architecture_and_a_device() -> None:
    """Where all singles help: those that change nothing in the result come first."""
    needed = full(GPT2)
    asked = with_room(question(), needed - 2**25)
    found = cheapest_change(asked, RMT)
    assert [change.words for change in found] == [
        "one activation checkpoint per layer",
        "batch size 1",
        "bf16 in place of fp32",
        "an RMT of segments of 512 with one checkpoint per segment, trained to use its memory",
        found[4].words,
    ]
    settings: tuple[dict[str, Any], ...] = (
        {"checkpoint_layers": True}, {"batch_size": 1}, {"precision": "bf16"}
    )  # fmt: skip
    assert [change.peak_bytes for change in found[:3]] == [full(GPT2, **one) for one in settings]
    room = asked.device.usable_memory_bytes
    larger = min(
        (one for one in DEVICES.values() if room < one.usable_memory_bytes),
        key=lambda one: (one.ample_memory_bytes < needed, one.memory_bytes),
    )
    assert found[4].words == f"a larger device, such as {larger.name}"


def test_every_single_change_is_tried() -> None:
    """Each is the first where the ones before it are not enough or not there."""
    one = Workload(tokens=64, mode="train", precision="bf16")
    cases: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("AdamW's states in 8 bits", GPT2, {"optimizer": "adamw-8bit"}),
        ("LoRA of rank 16 in place of all weights", GPT2, {"adapter": Adapter("lora")}),
        (
            "QLoRA of rank 16 on weights in nf4",
            quantize(GPT2, "nf4"),
            {"adapter": Adapter("qlora")},
        ),
    )
    for words, model, settings in cases:
        peak = rmtscale.estimate_memory(model, replace(one, **settings), device=A100).total
        asked = Question(model=GPT2, device=A100, workload=one, mode="train")
        found = cheapest_change(with_room(asked, peak + 2**20), None)
        assert (found[0].words, found[0].peak_bytes) == (words, peak)


@pytest.mark.parametrize("mode", ["prefill", "generate"])
def test_what_helps_in_inference(mode: str) -> None:
    """Pieces of the prompt, keys and values in fp8, weights in 8 or 4 bits."""
    model, work = PRESETS["llama-3-8b"], Workload(tokens=40_000)
    asked = Question(model=model, device=A100, workload=work, mode=mode)
    pieces = peak_of(asked, asked.work, None, PIECE_TOKENS).total
    found = cheapest_change(with_room(asked, pieces + 2**20), None)
    assert found[0] == ("the prompt read in pieces of 8,192", pieces)
    few = Question(model=model, device=A100, workload=Workload(tokens=8192), mode=mode)
    for weights in ("int8", "nf4"):
        less = replace(few, model=quantize(model, weights))
        peak = peak_of(less, less.work, None).total
        found = cheapest_change(with_room(few, peak + 2**20), None)
        assert found[0] == (f"weights in {weights}", peak)
    cached = replace(few, kv_dtype="fp8")
    peak = peak_of(cached, cached.work, None).total
    found = cheapest_change(with_room(few, peak + 2**20), None)
    assert found[0] == ("keys and values in fp8", peak)


def test_the_longest_input_that_fits() -> None:
    asked = with_room(question(tokens=9000, batch_size=1), 2**32)
    (shorter,) = (one for one in cheapest_change(asked, None) if one.words.startswith("at most"))
    tokens = int(shorter.words.split()[2].replace(",", ""))
    assert shorter.peak_bytes == full(GPT2, tokens=tokens, batch_size=1)
    assert full(GPT2, tokens=tokens + 1, batch_size=1) > asked.device.usable_memory_bytes


def test_a_prompt_longer_than_a_piece_is_read_in_pieces() -> None:
    for tokens, pieces in ((PIECE_TOKENS, False), (PIECE_TOKENS + 1, True)):
        found = rmtscale.estimate("llama-3-8b", "h100", tokens, segment_size=512)
        assert [way.title for way in found.ways] == [
            "full attention", *["full, in pieces"] * pieces, "RMT 512"
        ]  # fmt: skip
        assert [way.piece_tokens for way in found.ways if way.piece_tokens] == [8192] * pieces


@pytest.mark.parametrize("segments", [None, RMT])
def test_the_host_starts_each_token_s_pass(segments: Recurrence | None) -> None:
    """Writing: the prompt's operators, and those of one token for every token but the first."""
    work = Workload(tokens=3000)
    asked = Question(
        model=GPT2, device=A100, workload=work, mode="generate", new_tokens=7, segment_size=512
    )
    way = answer(asked).ways[-1 if segments else 0]
    cost = estimate_generation(GPT2, asked.generation(work), A100, segments)
    host = operators(GPT2, work, segments)
    host += 6 * operators(GPT2, Workload(tokens=1), None)
    least = cost.prefill.seconds + cost.decode.seconds
    assert way.time == slow_end(least, host, captured=segments is not None)
    assert way.flops == cost.prefill.flops + cost.decode.flops


def test_defaults_of_a_question() -> None:
    asked = Question(model=GPT2, device=A100, workload=Workload(tokens=1))
    assert (asked.mode, asked.new_tokens, asked.memory_tokens) == ("prefill", 1000, 10)
    assert asked.generation(asked.work).new_tokens == 1
    writing = replace(asked, mode="generate")
    assert writing.generation(writing.work).new_tokens == 1000
    assert asked.work.cache
    assert not replace(asked, mode="train").work.cache


def test_an_answer_as_text_and_numbers() -> None:
    """A time where there is one, words where there is none; memory tokens beside a segment."""
    timed, untimed = (rmtscale.estimate("gpt2", name, 512) for name in ("t4", "m4-max"))
    for found, known in ((timed, True), (untimed, False)):
        for way, cells, row in zip(found.ways, found.cells()[1], found.rows(), strict=True):
            assert (cells[3] == "not known") == (not known)
            assert (
                (row["seconds_at_least"] is None) == (row["seconds_at_most"] is None) == (not known)
            )
            assert (row["memory_tokens"] is None) == (way.segment_size is None)
            assert cells[2] == ("yes" if way.fits else "no")
