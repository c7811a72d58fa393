"""``rmtscale generate-cost`` as somebody who types it sees it."""

from __future__ import annotations

import json

from rmtscale.costs.generation import Generation, estimate_generation
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


def test_where_full_attention_is_faster_is_said(rmtscale: Command) -> None:
    done = rmtscale("generate-cost", "-m", "gpt2", "-d", "h200", "--context", "64")
    assert "Full attention is the faster one in prefill" in " ".join(done.out.split())


def test_one_token(rmtscale: Command) -> None:
    line = "generate-cost -m opt-175b -d v100-16gb --new-tokens 1 --dtype fp16"
    done = rmtscale(*line.split())
    assert done.code == 0
    assert "Decoding:" not in done.out
    assert "fits not even one sequence" in " ".join(done.out.split())
