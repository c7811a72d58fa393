"""The verdict: numbers from the records, and "not measured" where there are none."""

from __future__ import annotations

from typing import Any

import pytest

from rmtscale.records.measurement import Memory
from rmtscale.report.quantities import MEMORY, TIME
from rmtscale.report.series import group_records
from rmtscale.report.tables import unequal_table
from rmtscale.report.verdict import duel, end_of, judge
from tests.synthetic.records import figure_10, point, record


def made(times: dict[str, dict[int, float | None]], jitter: float = 0.0) -> list[Any]:
    """Records with given step times in seconds; None ran out of memory."""
    from rmtscale.records.measurement import Samples

    records = []
    for method, by_length in times.items():
        for tokens, seconds in by_length.items():
            found: dict[str, Any] = {"outcome": "oom", "event_time": None, "memory": None}
            if seconds is not None:
                steps = tuple(seconds * (1 + jitter * k) for k in (-1, 0, 1))
                size = int(seconds * 2**30)
                found = {
                    "event_time": Samples.of(steps),
                    "memory": Memory(peak_allocated_bytes=size),
                }
            values = {"method": method, "tokens": tokens, "memory_limit_bytes": None}
            records.append(record(point(**values), **found))
    return records


def text(records: list[Any]) -> str:
    (group,) = group_records(records)
    return " ".join(judge(group).sentences)


def test_break_even_is_the_last_crossing() -> None:
    records = made(
        {
            "full": {1000: 1.0, 2000: 3.0, 4000: 4.0, 8000: 9.0},
            "rmt": {1000: 2.0, 2000: 2.0, 4000: 5.0, 8000: 6.0},
        }
    )
    (group,) = group_records(records)
    found = duel(group, group.of("rmt")[0], TIME)
    assert found.better_from == 8000
    assert found.ratios[8000] == pytest.approx(1.5)
    assert "smaller and faster from a length between 4,000 and 8,000 tokens on" in text(records)
    assert "Full attention is faster than every RMT at 1,000, 4,000 tokens." in text(records)


def test_out_of_memory_has_lost() -> None:
    records = made({"full": {1000: 1.0, 2000: None}, "rmt": {1000: 2.0, 2000: 4.0}})
    said = text(records)
    assert "from a length between 1,000 and 2,000 tokens on" in said
    assert "Full attention ends at 1,000 tokens; at 2,000 it is out of memory" in said


def test_overlapping_quartiles_are_no_win() -> None:
    records = made({"full": {1000: 1.02, 2000: 3.0}, "rmt": {1000: 1.0, 2000: 2.0}}, jitter=0.1)
    (group,) = group_records(records)
    found = duel(group, group.of("rmt")[0], TIME)
    assert found.wins == {1000: False, 2000: True}
    assert found.losses == set()


@pytest.mark.parametrize(
    ("full", "between", "words"),
    [
        # 2,000 is open: overtaking lies between the last length lost and the first one won.
        ({1000: 1.0, 2000: 2.02, 4000: 8.0}, (1000, 4000), "between 1,000 and 4,000"),
        ({1000: 2.02, 2000: 4.0}, (None, 2000), "2,000 or before"),
        ({1000: 1.0, 2000: 2.02}, (1000, None), "not known by 2,000"),
        ({1000: 1.0, 2000: 1.0}, (2000, None), "not by 2,000"),
        ({1000: 4.0, 2000: 4.0}, (None, 1000), "1,000 or before"),
    ],
)
def test_where_it_overtakes_is_between_what_is_known(
    full: dict[int, float | None], between: tuple[int | None, int | None], words: str
) -> None:
    rmt: dict[int, float | None] = dict.fromkeys(full, 2.0)
    (group,) = group_records(made({"full": full, "rmt": rmt}, jitter=0.05))
    found = duel(group, group.of("rmt")[0], TIME)
    assert (found.worse_until, found.better_from) == between
    assert found.from_words() == words
    for tokens, ratio in found.ratios.items():
        low, high = found.spans[tokens]
        assert low <= ratio <= high
        opposite = low < 1 < high
        assert opposite == (tokens not in found.losses and not found.wins[tokens])
        assert (" to " in found.ratio_at(tokens)) == opposite


def test_a_difference_within_the_aa_noise_is_no_win() -> None:
    records = figure_10([1000, 2000])
    noisy = records[-1]
    (group,) = group_records(records)
    rmt = group.of("rmt")[1]
    assert duel(group, rmt, TIME).wins[2000]
    again = record(noisy.point, slower=3.0)
    (group,) = group_records([*records[:-1], again])
    assert not duel(group, group.of("rmt")[1], TIME).wins[2000]


def test_full_attention_wins_everywhere() -> None:
    said = text(made({"full": {1000: 1.0, 2000: 2.0}, "rmt": {1000: 2.0, 2000: 4.0}}))
    assert "RMT 500 is not smaller or faster by 2,000 tokens" in said
    assert "Full attention is faster than every RMT at 1,000, 2,000 tokens" in said


def test_the_best_full_attention_is_the_opponent() -> None:
    records = figure_10([4000])[:-1]
    fused = record(point(tokens=4000, attention="sdpa"), slower=0.01)
    (group,) = group_records([*records, fused])
    assert not any(duel(group, group.of("rmt")[0], TIME).wins.values())


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"full": {1000: 1.0}}, "RMT against full attention is not measured, it is not in"),
        ({"rmt": {1000: 1.0}}, "full attention against RMT is not measured, it is not in"),
        ({"full": {1000: None}, "rmt": {1000: None}}, "not measured, no point ran to its end"),
        ({"full": {1000: 1.0}, "rmt": {1000: None}}, "not measured, no point of it ran"),
        (
            {"full": {1000: 1.0}, "rmt": {2000: 1.0}},
            "they have no length in common",
        ),
    ],
)
def test_not_measured_is_said(times: dict[str, dict[int, float | None]], words: str) -> None:
    said = text(made(times))
    assert words in said
    assert "None" not in said


def test_the_end_of_a_series() -> None:
    (group,) = group_records(figure_10())
    assert end_of(group.of("full")[0]).words() == "7,000; out of memory at 8,000"
    assert end_of(group.of("rmt")[0]).words() == "8,000"
    assert duel(group, group.of("rmt")[0], MEMORY).longest == 7000


def test_one_common_length_is_said_to_be_the_only_one() -> None:
    said = text(made({"full": {1000: 2.0, 2000: 4.0}, "rmt": {1000: 1.0}}))
    assert "at 1,000, the only length compared" in said
    assert "at every length measured" not in said


FORWARD = {"mode": "forward", "optimizer": None, "dropout": False}
SEGMENTS = {"method": "rmt", "segment_size": 500, "memory_tokens": 2}


@pytest.mark.parametrize(
    ("full", "rmt", "difference"),
    [
        (FORWARD | {"logits": "all"}, FORWARD | {"logits": "last"}, "forms the logits of every"),
        ({}, {"checkpoint_segments": True}, "keeps what RMT recomputes"),
        ({"checkpoint_layers": True}, {}, "recomputes what RMT keeps"),
        (FORWARD | {"logits": "last"}, FORWARD | {"logits": "last"}, ""),
        ({"checkpoint_layers": True}, {"checkpoint_segments": True}, ""),
        ({}, {"bptt_segments": 2}, ""),
    ],
)
def test_only_equal_work_is_compared_in_words(
    full: dict[str, Any], rmt: dict[str, Any], difference: str
) -> None:
    """Other pairs have their ratios in a table of their own, and are in no sentence."""
    records = [
        record(point(tokens=tokens, **more))
        for tokens in (1000, 2000)
        for more in (full, SEGMENTS | rmt)
    ]
    (group,) = group_records(records)
    verdict = judge(group)
    (equal,) = verdict.duels
    words = " ".join(verdict.sentences)
    assert bool(equal[0].ratios) == (not difference)
    assert ("of equal work is not measured" in words) == bool(difference)
    table = unequal_table([verdict])
    assert [row[2].text[:25] for row in table.rows] == ([difference[:25]] if difference else [])
    if difference:
        assert difference in words
        ((memory, time),) = verdict.unequal
        assert [cell.number for cell in table.rows[0][3:]] == [
            memory.ratios[2000],
            time.ratios[2000],
        ]
        assert "x" not in words.replace("x1000", "")


def test_equal_work_is_found_beside_unequal() -> None:
    """With both kinds of full attention measured, the sentences speak of the equal one only."""
    records = [
        record(point(tokens=tokens, **more))
        for tokens in (1000, 2000)
        for more in (
            FORWARD | {"logits": "all"},
            FORWARD | {"logits": "last"},
            FORWARD | SEGMENTS | {"logits": "last"},
        )
    ]
    (group,) = group_records(records)
    ((memory, _),) = (verdict := judge(group)).duels
    full = next(series for series in group.of("full") if series.point.logits == "last")
    rmt = group.of("rmt")[0]
    assert memory.ratios[2000] == full.values(MEMORY)[2000] / rmt.values(MEMORY)[2000]
    assert len(verdict.unequal) == 1
