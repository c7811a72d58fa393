"""No two ways of asking contradict each other: random questions, compared as integers.

40 in every run, 200 in ``make verify``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

import rmtscale
from rmtscale.costs.segment_choice import possible_segment_sizes
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import DEVICES
from tests.grids import THOROUGH

Command = Callable[..., Any]
MODELS = ("gpt2", "opt-1.3b", "pythia-160m", "llama-3.2-1b", "bert-base-cased", "llama-3-8b")
TIMED = [name for name, device in DEVICES.items() if device.timed]


def question(seed: int) -> dict[str, Any]:
    """One question, drawn from a seed."""
    draw = random.Random(seed)
    model = draw.choice(MODELS)
    device = draw.choice(TIMED)
    dtypes = [dtype for dtype in DEVICES[device].dtypes if dtype != "tf32"]
    modes = ["train", "prefill"] + ["generate"] * PRESETS[model].decoder
    return {
        "model": model,
        "device": device,
        "tokens": draw.randint(1, 200_000),
        "mode": draw.choice(modes),
        "segment_size": draw.choice(possible_segment_sizes(PRESETS[model], 10)),
        "precision": draw.choice(dtypes),
        "batch_size": draw.choice([1, 1, 1, 3]),
        "new_tokens": draw.randint(1, 60),
    }


def rows(done: Any) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return found


def options(asked: dict[str, Any], *names: str) -> list[str]:
    return [text for name in names for text in (f"--{name.replace('_', '-')}", str(asked[name]))]


@pytest.mark.parametrize("block", range(10 if THOROUGH else 2))
def test_every_command_and_function_says_the_same(rmtscale: Command, block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        asked = question(seed)
        shared = options(asked, "model", "device", "precision", "batch_size", "segment_size")
        own = ("tokens", "mode", *(["new_tokens"] if asked["mode"] == "generate" else []))
        estimated = rows(rmtscale("estimate", *shared, *options(asked, *own), "-f", "json"))
        by_method = {
            (row["method"], row["checkpoints"] or bool(row["prefill_chunk"])): row
            for row in estimated
        }
        check_function(asked, estimated)
        if asked["mode"] == "generate":
            check_generation(rmtscale, asked, shared, by_method)
        else:
            check_memory(rmtscale, asked, shared, by_method)
            if seed % 4 == 0:  # a plan takes longer than all else
                check_plan(asked, by_method)


def check_function(asked: dict[str, Any], estimated: list[dict[str, Any]]) -> None:
    """The function says what the command says, in every row and number."""
    given = dict(asked)
    found = rmtscale.estimate(given.pop("model"), given.pop("device"), **given)
    assert json.loads(json.dumps(found.rows())) == [
        {name: value for name, value in row.items() if name != "cheapest_change"}
        for row in estimated
    ]
    assert found.full.fits == (found.full.peak.total <= found.question.device.usable_memory_bytes)
    if found.change is not None:
        assert found.change.peak_bytes <= max(d.usable_memory_bytes for d in DEVICES.values())


def check_memory(
    command: Command, asked: dict[str, Any], shared: list[str], by_method: dict[Any, Any]
) -> None:
    """``memory`` says the peaks and what fits, plain and with checkpoints."""
    line = [*shared, *options(asked, "tokens", "mode"), "-f", "json"]
    for row in rows(command("memory", *line)):
        assert row["peak_bytes"] == by_method[row["method"], False]["peak_bytes"], asked
        assert row["fits"] == by_method[row["method"], False]["fits"]
    if asked["mode"] == "train":
        for method, flag in (("full", "--checkpoint-layers"), ("rmt", "--checkpoint-segments")):
            found = {row["method"]: row for row in rows(command("memory", *line, flag))}
            assert found[method]["peak_bytes"] == by_method[method, True]["peak_bytes"], asked
        settings = {name: asked[name] for name in ("tokens", "mode", "precision", "batch_size")}
        work = rmtscale.Workload(**settings)
        flops = rmtscale.estimate_flops(asked["model"], work, convention="matmul").total
        assert flops == by_method["full", False]["flops"]
        least = rmtscale.estimate_time(asked["model"], work, asked["device"]).seconds
        assert least <= by_method["full", False]["seconds_at_most"], "the roofline is a bound"


def check_generation(
    command: Command, asked: dict[str, Any], shared: list[str], by_method: dict[Any, Any]
) -> None:
    """``generate-cost`` says the peaks, the FLOPs and the seconds of both phases."""
    line = [*shared, "--context", str(asked["tokens"]), *options(asked, "new_tokens"), "-f", "json"]
    for row in rows(command("generate-cost", *line)):
        mine = by_method[row["method"], False]
        assert row["peak_bytes"] == mine["peak_bytes"], asked
        assert row["prefill"]["flops"] + row["decode"]["flops"] == mine["flops"]
        seconds = row["prefill"]["seconds"] + row["decode"]["seconds"]
        assert seconds == mine["seconds_at_least"]


def check_plan(asked: dict[str, Any], by_method: dict[Any, Any]) -> None:
    """The plan's limits say of this length, too, whether it fits."""
    train = asked["mode"] == "train"
    work = rmtscale.Workload(
        tokens=1,
        mode="train" if train else "forward",
        cache=not train and PRESETS[asked["model"]].decoder,
        precision=asked["precision"],
        batch_size=asked["batch_size"],
    )
    limits = limits_of(asked["model"], work, asked["segment_size"], asked["device"])
    names = {("full", False): "full_longest_tokens", ("rmt", False): "longest_tokens"}
    if train:
        names |= {
            ("full", True): "full_checkpointed_longest_tokens",
            ("rmt", True): "checkpointed_longest_tokens",
        }
    for key, name in names.items():
        fits = limits[name] is not None and asked["tokens"] <= limits[name]
        assert fits == by_method[key]["fits"], (asked, key)


def limits_of(model: str, work: Any, segment_size: int, device: str) -> dict[str, Any]:
    return asdict(rmtscale.make_plan(model, work, segment_size, device))


@pytest.mark.parametrize("model", ["gpt2", "llama-3-8b", "pythia-160m"])
@pytest.mark.parametrize("adapter", ["lora", "parallel"])
def test_adapters_cost_the_same_in_every_command(
    rmtscale: Command, model: str, adapter: str
) -> None:
    """``flops`` and ``memory`` say of a training of adapters what ``estimate`` says."""
    asked = ["-m", model, "--tokens", "3k", "--mode", "train", "--adapter", adapter]
    asked += ["--segment-size", "512", "-f", "json"]
    estimated = {
        (row["method"], row["checkpoints"]): row
        for row in rows(rmtscale("estimate", "-d", "a100-80gb", *asked))
    }
    for method, flag in {"full": "--checkpoint-layers", "rmt": "--checkpoint-segments"}.items():
        for checkpoints, flags in {False: (), True: (flag,)}.items():
            mine = estimated[method, checkpoints]
            for command, number in {"flops": "flops", "memory": "peak_bytes"}.items():
                device = ("-d", "a100-80gb") if command == "memory" else ()
                found = {
                    row["method"]: row for row in rows(rmtscale(command, *asked, *flags, *device))
                }
                assert found[method][number] == mine[number], (command, method, checkpoints)
    whole = rmtscale(
        "flops",
        "-m",
        model,
        "--tokens",
        "3k",
        "--mode",
        "train",
        "-f",
        "json",
        "--convention",
        "matmul",
    )
    assert rows(whole)[0]["flops"] > estimated["full", False]["flops"]
