"""Sweep definitions: lists are crossed, each point once, and what does not belong is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.profiler.prediction import fits, predict, this_machine
from rmtscale.profiler.presets import PRESETS
from rmtscale.specs.devices import find_device

SWEEPS = sorted((Path(__file__).parents[2] / "profiles" / "sweeps").glob("*.toml"))
GRID: dict[str, Any] = {"model": "gpt2", "tokens": [1000, "2k"], "device": "cuda"}


def sweep(**values: Any) -> Any:
    return make_sweep({"grid": [GRID | values]})


def points(**values: Any) -> list[Any]:
    return [point for point in sweep(**values).points if not point.replicate]


def test_lists_are_crossed() -> None:
    found = points(segment_size=[500, 1000], mode=["train", "forward"], precision=["fp32", "bf16"])
    assert len(found) == 2 * 2 * 2 * (1 + 2)
    assert len(set(found)) == len(found)


def test_what_does_not_concern_a_point_is_left_out() -> None:
    full, rmt = points(tokens=1000, checkpoint_segments=True, bptt_segments=4)
    assert (full.segment_size, full.memory_tokens, full.bptt_segments) == (None, None, None)
    assert (full.optimizer, full.dropout, full.checkpoint_segments) == (None, False, False)
    assert (full.logits, rmt.logits) == ("last", "last")
    assert (full.cuda_graph, rmt.cuda_graph) == (False, True)
    (train,) = points(tokens=1000, method="rmt", mode="train", bptt_segments=4)
    assert (train.optimizer, train.dropout, train.bptt_segments) == ("adamw", True, 4)
    assert (train.logits, train.cuda_graph) == (None, False)
    (cpu,) = points(tokens=1000, method="rmt", device="cpu")
    assert not cpu.cuda_graph
    neo = points(tokens=1000, model="gpt-neo-125m", attention="eager", method="rmt")
    assert not neo[0].cuda_graph


def test_captured_training_is_a_setting_of_its_own() -> None:
    more = {"method": ["full", "rmt"], "mode": ["train", "forward"], "tokens": 1000}
    plain = {point.key for point in points(**more)}
    captured = points(**more, capture=True, compile_step=True)
    both = {(point.method, point.mode): point for point in captured}
    assert {kind: point.capture for kind, point in both.items()} == {
        ("full", "train"): False,
        ("full", "forward"): False,
        ("rmt", "train"): True,
        ("rmt", "forward"): False,
    }
    train = both["rmt", "train"]
    assert train.compile_step
    assert train.title().endswith("captured, compiled")
    assert train.key not in plain
    assert "capture" not in both["full", "train"].key, "as in records of earlier releases"
    (neo,) = points(
        tokens=1000,
        model="gpt-neo-125m",
        attention="eager",
        method="rmt",
        mode="train",
        capture=True,
    )
    assert not neo.capture
    assert not points(tokens=1000, method="rmt", mode="train", device="cpu", capture=True)[
        0
    ].capture
    with pytest.raises(BadInput, match="no micro-batches"):
        points(tokens=1000, method="rmt", mode="train", capture=True, accumulate=2)


def test_values_on_top() -> None:
    made = make_sweep(
        {"preset": "figure-10", "set": {"dropout": False, "memory_limit": "none"}, "seed": 3},
        {"tokens": [1000], "device": "cpu", "repeats": 2, "order": "random"},
    )
    assert (made.order, made.seed, made.protocol.repeats) == ("random", 3, 2)
    assert {point.tokens for point in made.points} == {1000}
    assert {point.device for point in made.points} == {"cpu"}
    assert {point.memory_limit_bytes for point in made.points} == {None}
    assert not any(point.dropout for point in made.points)


def test_figure_10_is_the_papers_grid() -> None:
    made = make_sweep({"preset": "figure-10"}, {"device": "cuda"})
    assert made.order == "short-first"
    assert {point.model.name for point in made.points} == {"gpt2"}
    assert {point.segment_size for point in made.points} == {None, 500, 1000}
    assert {point.tokens for point in made.points} == set(range(1000, 9000, 1000))
    for point in made.points:
        assert (point.mode, point.precision, point.attention) == ("train", "fp32", "eager")
        assert (point.batch_size, point.optimizer, point.dropout) == (1, "adamw", True)
        assert point.memory_limit_bytes == 80 * 2**30
        assert point.memory_tokens in (None, 2)
        assert point.bptt_segments is None


def test_what_will_not_fit() -> None:
    """In the paper and as measured here: full attention ends at 8,000 tokens."""
    made = make_sweep({"preset": "figure-10"}, {"device": "cuda"})
    machine = this_machine("cuda", "a100-80gb")
    misfits = {
        (point.method, point.tokens)
        for point in made.points
        if not fits(point, predict(point, machine.device), machine)
    }
    assert misfits == {("full", 8000)}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, r"sweep without a grid: expected \[\[grid\]\] or a preset"),
        ({"grids": []}, "sweep key 'grids': expected preset, grid, set, protocol, order or seed"),
        ({"grid": [{"model": "gpt2"}]}, "grid without tokens"),
        ({"grid": [{"tokens": 5}]}, "grid without model"),
        ({"grid": ["a"]}, "grid: expected a table"),
        ({"grid": [GRID | {"colour": 1}]}, "grid key 'colour': expected model, tokens"),
        ({"grid": [GRID | {"tokens": "12x"}]}, "tokens '12x': expected a whole number"),
        ({"grid": [GRID | {"tokens": 1.5}]}, "tokens '1.5': not a whole number"),
        ({"grid": [GRID | {"memory_tokens": "2"}]}, "memory tokens '2': expected a whole number"),
        ({"grid": [GRID | {"dropout": "no"}]}, "dropout 'no': expected true or false"),
        ({"grid": [GRID | {"memory_limit": 80}]}, "memory limit 80: expected a name"),
        ({"grid": [GRID | {"memory_limit": "80"}]}, "memory limit '80': expected a size with"),
        ({"grid": [GRID | {"method": "lstm"}]}, "method 'lstm': expected one of full, rmt"),
        ({"grid": [GRID | {"model": "gpt5"}]}, "model 'gpt5'"),
        ({"grid": [GRID], "order": "long-first"}, "order 'long-first': expected one of random"),
        ({"grid": [GRID], "protocol": {"repeat": 1}}, "protocol key 'repeat': expected warmup"),
        ({"grid": [GRID], "protocol": {"repeats": "a"}}, "repeats 'a': expected a number"),
        ({"grid": [GRID], "set": 1}, "set: expected a table"),
        ({"preset": "figure-99"}, "preset 'figure-99': expected one of figure-10"),
    ],
)
def test_definitions_that_cannot_be(definition: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_sweep(definition)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_definition(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("grid = [")
    with pytest.raises(BadInput, match="expected TOML"):
        read_definition(tmp_path / "bad.toml")


PRECISIONS = {
    "figure-10": {"fp32": 25},
    "figure-10-plain": {"fp32": 16},
    "gpt2-inference": {"fp32": 10, "bf16": 14},
    "gpt2-train": {"fp32": 18, "bf16": 11},
    "opt-inference": {"bf16": 19},
}
"""Points by precision of the sweeps that were measured before bf16 was the default."""


@pytest.mark.parametrize("name", PRECISIONS)
def test_measured_sweeps_keep_their_precisions(name: str) -> None:
    """They name every precision themselves, so that no default changes what was measured."""
    asked = read_definition(SWEEPS[0].with_name(f"{name}.toml"))
    for device in (None, find_device("t4")):
        points = make_sweep(asked, device=device).points
        assert Counter(point.precision for point in points) == PRECISIONS[name]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_committed_sweeps(path: Path) -> None:
    """They can be made, are for a GPU, begin with what is short where lengths differ, are lean."""
    made = make_sweep(read_definition(path), processes=2)
    assert {point.device for point in made.points} == {"cuda"}
    # Many models at about one length: at random, so that a slow host hits no model alone.
    assert made.order == ("random" if path.stem == "time-models" else "short-first")
    assert len(made.points) <= 90
    assert sum(point.replicate for point in made.points) == 1


def test_there_are_committed_sweeps() -> None:
    assert {path.stem for path in SWEEPS} >= {"figure-10", "figure-10-plain"}
    assert set(PRESETS) == {"figure-10"}
