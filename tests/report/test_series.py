"""Series and groups: what may share an axis, and what never does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import Group, group_records, group_runs
from tests.synthetic.records import MACHINE, environment, figure_10, inference, point, record


def test_a_sweep_is_one_group() -> None:
    (group,) = group_records(figure_10())
    assert group.labels() == ["full", "RMT 500", "RMT 1000"]
    assert group.lengths() == list(range(1000, 9000, 1000))
    assert group.name == "gpt2, training, fp32"
    assert list(group.series[0].values(TIME)) == list(range(1000, 8000, 1000))
    assert group.series[0].outcomes()[8000] == "oom"


@pytest.mark.parametrize(
    "other",
    [
        {"precision": "bf16"},
        {"mode": "forward"},
        {"memory_limit_bytes": None},
        {"dropout": False},
        {"optimizer": "sgd"},
        {"batch_size": 2},
    ],
)
def test_what_differs_in_a_setting_is_split(other: dict[str, Any]) -> None:
    groups = group_records([record(point()), record(point(**other))])
    assert len(groups) == 2
    assert len({group.name for group in groups}) == (1 if other == {"batch": 2} else 2)


@pytest.mark.parametrize("other", [{"gpu": "Other GPU"}, {"environment": environment(packages={})}])
def test_machines_and_versions_are_split(other: dict[str, Any]) -> None:
    assert len(group_records([record(point()), record(point(tokens=2000), **other)])) == 2


@pytest.mark.parametrize(
    ("other", "label"),
    [
        ({"attention": "sdpa"}, "full, sdpa"),
        ({"checkpoint_layers": True}, "full, layer checkpoints"),
        ({"method": "rmt", "bptt_segments": 2}, "RMT 500"),
    ],
)
def test_variants_of_a_method_share_an_axis(other: dict[str, Any], label: str) -> None:
    (group,) = group_records([record(point()), record(point(**other))])
    assert label in group.labels()


def test_a_mixed_axis_is_refused() -> None:
    first, second = group_records([record(point()), record(point(precision="bf16"))])
    with pytest.raises(BadInput, match=r"series 'full' .*bf16.* cannot share an axis"):
        Group(first.setting, (*first.series, *second.series))


def test_a_later_record_takes_the_place_of_an_earlier() -> None:
    records = [record(point(), outcome="crashed"), record(point(), slower=2.0)]
    (group,) = group_records(records)
    assert [one.measured.outcome for one in group.series[0].records] == ["ok"]


def test_what_was_killed_is_of_the_gpu_of_the_others() -> None:
    """The parent of a killed process knows of no GPU."""
    lost = record(point(tokens=2000), gpu=None, outcome="timeout", event_time=None)
    (group,) = group_records([record(point()), lost])
    assert group.setting.machine == MACHINE
    assert group.series[0].outcomes() == {1000: "ok", 2000: "timeout"}


def test_a_failed_point_has_no_numbers() -> None:
    one = record(point(), outcome="timeout")
    assert TIME.read(one) is None
    assert MEMORY.read(one) is None


def test_the_clock_is_the_devices() -> None:
    """A GPU point without events has no time, rather than one by another clock."""
    assert TIME.read(record(point(), event_time=None)) is None


def test_runs_of_the_same_points_stay_apart() -> None:
    apart = group_runs({"a.jsonl": figure_10(), "b.jsonl": figure_10(slower=2.0)})
    assert [group.name for group in apart] == [
        "gpt2, training, fp32, a.jsonl",
        "gpt2, training, fp32, b.jsonl",
    ]
    together = group_runs({"a.jsonl": figure_10(), "b.jsonl": inference()})
    assert {group.setting.run for group in together} == {""}


def test_noise_is_that_of_the_machine() -> None:
    (group,) = group_records(figure_10())
    assert group.noise_of(MEMORY) == pytest.approx(0.001, rel=0.01)
    assert replace(group, noise=()).noise_of(MEMORY) == 0.0
