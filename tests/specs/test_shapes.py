"""Published shapes as facts, one line each (``shapes.jsonl``): what their real modules have.

Each line holds a config's fields that matter, the class, its parameters as Transformers' module
counts them, and the FLOPs of a forward pass at one length, 0 where the module cannot be counted.
With ``RMTSCALE_CONFIGS`` naming a folder of configs and a ``TRUTH.json`` all of them are held
against it.
"""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import active_parameters, count_parameters
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import read_mapping, to_config
from rmtscale.specs.reading import NoRow, read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

LINES = Path(__file__).with_name("shapes.jsonl").read_text(encoding="utf-8").splitlines()
SHAPES = [json.loads(line) for line in LINES]
CONFIGS = os.environ.get("RMTSCALE_CONFIGS")


def test_there_are_enough() -> None:
    assert len(SHAPES) >= 60
    assert len({shape["config"]["model_type"] for shape in SHAPES}) >= 50


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["name"])
def test_a_published_shape(shape: dict[str, Any]) -> None:
    spec = read_mapping(shape["config"], shape["name"], shape["class"]).spec
    assert count_parameters(spec).total == shape["parameters"]
    if shape["tokens"]:
        flops = estimate_flops(spec, Workload(tokens=shape["tokens"]), None, "matmul")
        assert flops.total == shape["flops"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_says_what_the_plain_spec_says(name: str) -> None:
    """The six families are read twice: as a plain spec, and layer by layer by their row."""
    spec = PRESETS[name]
    layered = read(to_config(spec), name).spec
    assert count_parameters(layered).total == count_parameters(spec).total
    for mode, recurrence in product(("forward", "train"), (None, Recurrence(40, 3))):
        work = Workload(tokens=96, mode=mode)  # type: ignore[arg-type]
        plain, other = (
            estimate_flops(one, work, recurrence, "matmul").by_operator() for one in (spec, layered)
        )
        assert other == plain
    for convention in ("hoffmann", "kaplan", "paper"):
        both = [
            estimate_flops(one, Workload(tokens=96), None, convention) for one in (spec, layered)
        ]
        assert both[0].total == both[1].total


def test_active_parameters() -> None:
    """Published: Mixtral 12.9B of 46.7B, Qwen3 3.3B of 30.5B, DeepSeek-V3 37B of 671B."""
    named = {shape["name"]: shape for shape in SHAPES}
    published = {"mixtral-8x7b-v0.1": 12.9, "qwen3-30b-a3b": 3.35, "deepseek-v3": 37.6}
    for name, billions in published.items():
        spec = read_mapping(named[name]["config"], name).spec
        assert active_parameters(spec) / 1e9 == pytest.approx(billions, abs=0.1)
    assert active_parameters(PRESETS["gpt2"]) == count_parameters(PRESETS["gpt2"]).total


@pytest.mark.skipif(CONFIGS is None, reason="RMTSCALE_CONFIGS names no folder of configs")
def test_a_folder_of_configs() -> None:
    folder = Path(CONFIGS or "")
    truth = json.loads((folder / "TRUTH.json").read_text(encoding="utf-8"))
    read_files, differing = 0, []
    for name, known in truth.items():
        if "parameters" not in known:
            continue
        config = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        try:
            reading = read_mapping(config, name, known["class"])
        except NoRow:
            continue
        read_files += 1
        if "vision" in " ".join(reading.not_counted) and known["class"].endswith("VLModel"):
            continue  # the truth has the vision part, too
        if count_parameters(reading.spec).total != known["parameters"]:
            differing.append(name)
        for tokens, flops in known.get("matmul_flops_forward", {}).items():
            work = Workload(tokens=int(tokens))
            if estimate_flops(reading.spec, work, None, "matmul").total != flops:
                differing.append(f"{name} at {tokens}")
    assert differing == []
    assert read_files >= 0.94 * sum("parameters" in known for known in truth.values())
