"""Kernels at a length that follow from other lengths are those of the length's own tape."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from rmtscale.costs.time.constants_file import known_constants
from rmtscale.costs.time.device_time import price
from rmtscale.costs.time.growing import GrownList, Lengths
from rmtscale.costs.time.kernels import PLAIN, KernelList, Stream
from rmtscale.costs.time.step_kernels import kernels_at, pass_kernels
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.devices import find_device
from rmtscale.specs.workload import Workload
from tests.grids import THOROUGH

FAMILIES = ("gpt2", "opt-350m", "gpt-neo-125m", "pythia-160m", "llama-3.2-1b", "bert-base-cased")
SETTINGS: list[dict[str, Any]] = [
    {"precision": "fp32", "attention": "eager"},
    {"precision": "bf16", "attention": "eager", "batch_size": 3},
    {"precision": "bf16"},
    {"precision": "amp-bf16", "batch_size": 2, "checkpoint_layers": True},
    {"precision": "bf16", "adapter": Adapter("lora", 8)},
]
H200 = known_constants(find_device("h200"))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("overhead", [0, 300])
def test_they_are_those_of_a_tape(name: str, overhead: int) -> None:
    drawn = random.Random(f"{name} {overhead}")
    model = replace(PRESETS[name], positions=None)
    works = [
        Workload(tokens=1, mode=mode, **setting)
        for mode, setting in product(("forward", "train"), SETTINGS)
        if "adapter" not in setting or (mode == "train" and model.decoder)
    ]
    turn = FAMILIES.index(name) + bool(overhead)
    for work in works if THOROUGH else works[turn % 2 :: 2]:
        sizes = [1501, 1504, 2049, 2056, 600]  # sights, and every family
        sizes += [drawn.randrange(overhead + 1, 10 ** drawn.randint(3, 6)) for _ in range(2)]
        grown = 0
        for size in sizes:
            found = kernels_at(model, work, size, overhead, bool(overhead))
            asked = pass_kernels(model, work, size, size - overhead, bool(overhead))
            for one, own in zip(found, asked, strict=True):
                assert one.kernels == own.kernels, (work, size)
                assert one.launched == own.launched
                grown += isinstance(one, GrownList)
                seconds = price(one, work.dtype, H200)
                assert seconds == pytest.approx(price(own, work.dtype, H200), rel=1e-11)
        assert grown, "none followed from other lengths"


def test_what_is_no_polynomial_is_worked_out_each_time() -> None:
    def made(length: int) -> list[KernelList]:
        return [KernelList((Stream(PLAIN, 2**length),))]

    lengths = Lengths(made, 0)
    for length in (3, 5, 7, 9, 11):
        (found,) = lengths.at(length) or ()
        assert isinstance(found, KernelList)
        assert found.kernels == (Stream(PLAIN, 2**length),)
