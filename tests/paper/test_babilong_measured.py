"""BABILong's claims about memory and time: like is compared with like, and batches are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.records.measurement import Memory
from rmtscale.report.claims import Claim
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.runs import runs_of, shown
from rmtscale.study.figures.babilong.tables import cost_table
from rmtscale.study.records.babilong import BabilongRecord
from tests.synthetic.babilong import babilong, every, rows
from tests.synthetic.records import environment

MEMORY = "peak memory of the GPU constant in the length, measured"
TIME = "10M tokens in under 10.0 s a sample"
MIB = 2**20


def claim(text: str, records: list[BabilongRecord]) -> Claim:
    (found,) = [one for one in check_claims(runs_of(records)) if one.text == text]
    return found


def peak(length: str, mebibytes: int, held: int = 107, **values: Any) -> BabilongRecord:
    memory = Memory(baseline_allocated_bytes=held * MIB, peak_allocated_bytes=mebibytes * MIB)
    return babilong("qa1", length, 1.0, memory=memory, **values)


def test_memory_that_grows_with_the_length_fails() -> None:
    flat = [peak(length, 372) for length in ("1k", "128k", "1M")]
    found = claim(MEMORY, flat)
    assert (found.outcome, found.ours[:41]) == ("pass", "372.0 MiB, 0.0 % apart from 1k to 1M, the")
    grown = claim(MEMORY, [*flat[:2], peak("1M", 500)])
    assert grown.outcome == "fail"
    assert grown.ours.startswith("500.0 MiB, 34 % apart from 1k to 1M")
    for records in ([], flat[:1], [replace(flat[0], memory=Memory())]):
        assert claim(MEMORY, [*records, babilong("qa2", "1k", 1)]).outcome == "not measurable"


def test_stories_alone_do_not_count() -> None:
    """Neither what they take, nor what was held of them while longer samples were read."""
    long = [peak(length, 372, evaluated_at="2025-01-01T00:00:00+00:00") for length in ("64k", "1M")]
    later: dict[str, Any] = {"evaluated_at": "2025-01-02T00:00:00+00:00"}
    short = [peak("0k", 143, **later), *(peak(name, 405, 140, **later) for name in ("1k", "32k"))]
    assert claim(MEMORY, [*long, *short]).outcome == "pass"
    # But what one command does not give back is seen, length by length.
    leaking = [peak("1k", 372, 107, **later), peak("32k", 405, 140, **later)]
    assert claim(MEMORY, [*long, *leaking]).outcome == "fail"
    noted = {**later, "evaluation_began_at": "2025-01-02T00:00:00.000+00:00"}
    # Of a command that says when it began, in whatever order its lines stand.
    known = [peak("32k", 405, 140, **noted), peak("1k", 372, 107, **noted)]
    assert claim(MEMORY, known).outcome == "fail"


OTHERS: list[dict[str, Any]] = [
    {"batch_size": 40},
    {"precision": "fp32"},
    {"compile_step": True},
    {"weights": "0" * 16},
    {"dead_band": 0.3},
    {"environment": environment("another")},
]


@pytest.mark.parametrize("other", OTHERS)
def test_memory_is_compared_between_equals(other: dict[str, Any]) -> None:
    base = [peak(length, 372) for length in ("1k", "128k")]
    assert claim(MEMORY, [*base, peak("1M", 500)]).outcome == "fail"
    assert claim(MEMORY, [*base, peak("1M", 500, **other)]).outcome == "pass"


def test_the_batch_of_the_slowest_is_named() -> None:
    found = claim(TIME, every(1.0))
    assert found.outcome == "pass"
    assert found.ours == "831 ms, 100 side by side in 83.1 s; none was read alone"
    slow = babilong("qa1", "10M", 1, seconds_per_sample=11.0, batch_size=50, compile_step=True)
    found = claim(TIME, [*every(1.0), slow])
    assert found.outcome == "fail"
    assert found.ours.startswith("11.0 s, 50 side by side in ")
    assert found.ours.endswith(", compiled; none was read alone")


def test_a_sample_that_was_read_alone_is_named() -> None:
    """The claim is about samples side by side; one alone takes longer, and is no fail."""
    alone = babilong("qa1", "10M", 1, samples=2, batch_size=1, seconds_per_sample=17.0)
    found = claim(TIME, [*every(1.0), alone])
    assert (found.outcome, found.ours.split("; ")[1]) == ("pass", "17.0 s, one alone")
    only = claim(TIME, rows("qa1", 1.0, ("10M",), batch_size=1, seconds_per_sample=9.0))
    assert (only.outcome, only.ours) == ("pass", "9.00 s, one alone")


def test_what_was_compiled_is_said() -> None:
    fast = babilong("qa1", "10M", 1, compile_step=True, seconds_per_sample=0.25)
    mixed = [*rows("qa1", 1.0, ("1k", "128k")), fast]
    found = claim(TIME, mixed)
    assert found.ours == "250 ms, 100 side by side in 25.0 s, compiled; none was read alone"
    table = cost_table(shown(runs_of(mixed))).splitlines()
    assert [("compiled" in line) for line in table[2:]] == [False, False, True]
