"""``rmtscale generate-cost`` as somebody who types it sees it."""

from __future__ import annotations

import json

import pytest

from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.generation_runs import Generation
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import format_flops
from tests.command_line import Command

LINE = "generate-cost --model llama-3-8b --context 128k --new-tokens 1k --batch-size 8 -d h100-sxm"


def test_the_issue_example(rmtscale: Command) -> None:
    done = rmtscale(*LINE.split())
    assert (done.code, done.err) == (0, "")
    assert all(len(text) <= 80 for text in done.out.splitlines())
    generation = Generation(context_tokens=128_000, new_tokens=1000, batch_size=8)
    cost = estimate_generation(PRESETS["llama-3-8b"], generation, find_device("h100-sxm"))
    assert format_flops(cost.prefill.flops) in done.out
    words = " ".join(done.out.split())
    assert "On h100-sxm full attention fits 2 sequences at once, RMT" in words
    assert words.startswith("Full attention does not fit: ")
    assert "of 79.11 GiB; RMT fits: " in words


def test_json(rmtscale: Command) -> None:
    options = "--kv-dtype fp8 --prefill-chunk 4k --segment-size 256 --memory-tokens 4 --format json"
    rows = json.loads(rmtscale(*LINE.split(), *options.split()).out)["rows"]
    generation = Generation(
        context_tokens=128_000, new_tokens=1000, batch_size=8, kv_dtype="fp8", prefill_chunk=4000
    )
    for row, recurrence in zip(rows, (None, Recurrence(256, 4)), strict=True):
        cost = estimate_generation(
            PRESETS["llama-3-8b"], generation, find_device("h100-sxm"), recurrence
        )
        assert row["decode"]["flops"] == cost.decode.flops
        assert row["prefill"]["moved_bytes"] == cost.prefill.moved_bytes
        assert row["largest_batch"] == cost.largest_batch
        assert row["segment_size"] == (None if recurrence is None else 256)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-m gpt2 -d h200 --context 64", "Which one is faster in prefill and decode is not known"),
        ("-m gpt2 -d h200 --context 500k", "RMT is the faster one in prefill and decode."),
        (
            "-m llama-3-8b -d h200 --context 2k --segment-size 64 --memory-tokens 24",
            "Full attention is the faster one in prefill. Which one is faster in decode is not",
        ),
        ("-m gpt2 -d h200 --context 500k --new-tokens 1", "RMT is the faster one in prefill."),
    ],
)
def test_which_one_is_faster_is_said_where_it_is_known(
    rmtscale: Command, line: str, words: str
) -> None:
    """And the rows of plain numbers say the same."""
    done = rmtscale("generate-cost", *line.split())
    assert all(len(text) <= 80 for text in done.out.splitlines())
    assert words in " ".join(done.out.split())
    rows = json.loads(rmtscale("generate-cost", *line.split(), "--format", "json").out)["rows"]
    full, rmt = ((row["prefill_least_seconds"], row["prefill_most_seconds"]) for row in rows)
    apart = "full" if full[1] < rmt[0] else "rmt" if rmt[1] < full[0] else None
    said = {"Full": "full", "RMT": "rmt", "Which": None}[words.split(maxsplit=1)[0]]
    assert apart == said


def test_the_prefill_takes_what_estimate_says(rmtscale: Command) -> None:
    """And no phase less than its roofline, nor more tokens a second than that."""
    line = "-m gpt2 -d h200 --segment-size 512 --precision bf16 --format json".split()
    ways = json.loads(rmtscale("estimate", "--tokens", "16k", *line).out)["rows"]
    rows = json.loads(rmtscale("generate-cost", "--context", "16k", *line).out)["rows"]
    for row in rows:
        way = next(
            way for way in ways if way["method"] == row["method"] and not way["prefill_chunk"]
        )
        assert row["prefill_least_seconds"] == way["seconds_at_least"]
        assert row["prefill_most_seconds"] == way["seconds_at_most"]
        assert row["prefill"]["seconds"] <= row["prefill_least_seconds"]
        assert row["decode"]["seconds"] <= row["decode_least_seconds"] < row["decode_most_seconds"]
        assert row["most_tokens_per_second"] == pytest.approx(row["tokens_per_second"])


def test_one_token(rmtscale: Command) -> None:
    line = "generate-cost -m opt-175b -d v100-16gb --new-tokens 1 --dtype fp16"
    done = rmtscale(*line.split())
    assert done.code == 0
    assert "Decoding:" not in done.out
    assert "fits not even one sequence" in " ".join(done.out.split())
