"""``--gpus``: plan and estimate on a cluster; the headline, named layouts, and what is refused."""

from __future__ import annotations

import json
import time

import pytest

from rmtscale.units import format_bytes
from tests.command_line import Command

OPT = ("plan", "-m", "opt-175b", "-d", "a100", "--mode", "train", "--tokens", "1024k")


def test_the_headline_in_words(rmtscale: Command) -> None:
    """64 GPUs do not hold full attention; 1,024 make it faster, at more GPU-seconds or fewer."""
    few = rmtscale(*OPT, "--gpus", "64")
    assert few.code == 0
    assert "full attention: no layout fits" in " ".join(few.out.split())
    begin = time.perf_counter()
    many = rmtscale(*OPT, "--gpus", "1024")
    assert time.perf_counter() - begin < 5  # a second on a core of its own
    words = " ".join(many.out.split())
    assert words.startswith("Training: Full attention is faster:")
    assert "RMT 512 may take more GPU-seconds a token or fewer" in words
    assert "it uses 64 of 1024 GPUs" in words
    assert "Of these run in nothing known (*)" in words
    assert "Megatron-LM" in words


def test_rows_of_both_ways(rmtscale: Command) -> None:
    done = rmtscale(*OPT, "--gpus", "256", "-f", "json")
    rows = json.loads(done.out)["rows"]
    by_method = {row["method"]: [r for r in rows if r["method"] == row["method"]] for row in rows}
    assert set(by_method) == {"full", "rmt"}
    for found in by_method.values():
        assert 6 <= len(found) <= 8
        seconds = [row["seconds"] for row in found[:6]]
        assert seconds == sorted(seconds)
        assert all(row["peak_bytes_per_gpu"] <= 79.25 * 2**30 for row in found)
        assert all(
            row["seconds_at_least"] < row["seconds"] < row["seconds_at_most"] for row in found
        )


@pytest.mark.parametrize("command", ["plan", "estimate"])
def test_rows_say_what_would_be_enough_where_no_layout_fits(
    command: str, rmtscale: Command
) -> None:
    """JSON and CSV have a row for each way, with the numbers that the table says in words."""
    line = f"{command} -m llama-3-70b -d rtx-4090 --tokens 64k --mode train --segment-size 512"
    asked = (*line.split(), "--gpus", "2")
    words = " ".join(rmtscale(*asked).out.split())
    rows = json.loads(rmtscale(*asked, "-f", "json").out)["rows"]
    assert [(row["method"], row["fits"], row["layout"]) for row in rows] == [
        ("full", False, None),
        ("rmt", False, None),
    ]
    for row, title in zip(rows, ("full attention", "RMT 512"), strict=True):
        least = format_bytes(row["least_bytes_per_gpu"])
        room = format_bytes(row["usable_memory_bytes"])
        assert row["least_bytes_per_gpu"] > row["usable_memory_bytes"]
        assert (
            f"{title}: no layout fits; the least that one GPU needs is {least} of {room}; by "
            f"doublings, {row['enough_gpus']} GPUs are the fewest on which one fits"
        ) in words
    (_, *lines) = rmtscale(*asked, "-f", "csv").out.splitlines()
    assert [one.rsplit(",", 1)[1] for one in lines] == [str(row["enough_gpus"]) for row in rows]
    enough = rmtscale(*asked[:-1], str(rows[0]["enough_gpus"]), "-f", "json").out
    assert all(row["fits"] for row in json.loads(enough)["rows"])


def test_a_named_layout_with_its_terms(rmtscale: Command) -> None:
    line = "estimate -m opt-30b -d a100 --tokens 16k --mode train --gpus 16 --layout tp4-pp4-full"
    done = rmtscale(*line.split(), "--segment-size", "512")
    assert done.code == 0, done.err
    assert "tp4-pp4-full" in done.out
    assert "context and nccl" in done.out
    assert "all reduce, tp" in done.out


def test_serving(rmtscale: Command) -> None:
    line = "plan -m llama-3-70b -d h100 --gpus 8 --tokens 128k --mode prefill -f csv"
    done = rmtscale(*line.split())
    assert done.code == 0, done.err
    assert "full,,forward,128000" in done.out


def test_flops_of_one_gpu(rmtscale: Command) -> None:
    line = ("flops", "-m", "gpt2", "--tokens", "1k", "--gpus", "3")
    for row in json.loads(rmtscale(*line, "-f", "json").out)["rows"]:
        assert row["flops_per_gpu"] == -(-row["flops"] // 3)
    assert "RMT a GPU" in rmtscale(*line).out


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("--layout tp8", "expected with --gpus"),
        ("--interconnect ib-hdr", "expected with --gpus"),
        ("--gpus 64 --layout tp8", "is of 8 GPUs, expected 64"),
        ("--gpus 8 --layout tp7", "7 GPUs"),
        ("--gpus 8 --calibration a.json", "calibration 'a.json': cannot be read"),
        ("--gpus 12", "expected a multiple of the 8 of a node"),
        ("--gpus 8 --method mamba", "expected rmt with --gpus: what other methods calculate"),
        ("--gpus 8 --method armt", "expected rmt with --gpus, whose answer says what a state in"),
        ("--gpus 8 --interconnect string", "interconnect 'string': expected"),
    ],
)
def test_refused_in_one_line(more: str, reason: str, rmtscale: Command) -> None:
    done = rmtscale(*OPT, *more.split())
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
