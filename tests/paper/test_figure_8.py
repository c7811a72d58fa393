"""Figure 8 from records: losses at the edges of the block, true contexts, cost and quality."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_8 import claims as experiment
from rmtscale.study.figures.figure_8.drawing import readers
from rmtscale.study.figures.language.groups import input_sizes
from rmtscale.study.records.language import LanguageRecord
from tests.command_line import Command
from tests.synthetic.language import baseline, language, shifted, study

pytestmark = pytest.mark.usefixtures("unpainted")
FIRST = "input 128: without memory the first eighth of the block costs more"
CLOSES = "input 128: without memory the gap at the last eighth is smaller than at the first"
ALONE = "input 128: without memory and context the first eighth of the block costs more"
CONTEXT = "input 128: true context is lower still than memory of no more text"


def claims(found: list[LanguageRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in experiment.check_claims(found)}


def few(**values: Any) -> list[LanguageRecord]:
    return study((128,), trained=(7,), counts=range(1, 9), **values)


def test_all_hold() -> None:
    found = claims(study((128, 512), counts=range(1, 9)))
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 6
    assert "its FLOPs over memory's: x1.01 at 128" in found[CONTEXT].ours


def test_gaps_at_the_edges() -> None:
    """By hand: 0.5 nats at the first 15 of 124 positions, 0.125 at all others, in bits per byte."""
    own = [baseline(law=lambda at: 3.0 if at < 15 else 2.0, seed=seed) for seed in (0, 1)]
    memory = [
        language(2, law=lambda at: 2.5 if at < 15 else 1.875, seed=seed, trained_segments=2)
        for seed in (0, 1)
    ]
    (size,) = input_sizes([*own, *memory])
    gaps = experiment.edge_gaps(size, size.own)
    assert gaps.keys() == {0, 1}
    whole = own[0].whole
    bits = 1 / math.log(2) * whole.total_tokens / sum(whole.text_bytes)
    for gap in gaps.values():
        assert gap == pytest.approx((0.5 * bits, 0.125 * bits))
    said = experiment.answer([size])
    assert said == (
        f"One segment of memory changes the loss by {-0.5 * bits:.4f} bits per byte in the first "
        f"eighth of the block and by {-0.125 * bits:.4f} in the last at input 128"
    )


def test_memory_that_does_not_help_the_first_tokens_fails() -> None:
    late = [
        replace(one, position_nats=one.position_nats[::-1]) if one.model.seed else one
        for one in few()
    ]
    found = claims(late)
    assert found[FIRST].outcome == "pass"
    assert found[CLOSES].outcome == "fail"
    worse = [
        replace(one, position_nats=tuple(nats + 1 for nats in one.position_nats))
        if one.model.seed and one.model.memory_tokens
        else one
        for one in few()
    ]
    assert claims(worse)[FIRST].outcome == "fail"


def test_the_block_alone_is_a_baseline_of_its_own() -> None:
    found = few(contexts=(0, 4, 128))
    held = claims(found)
    assert held[ALONE].outcome == "pass"
    assert len(held) == 5
    (size,) = input_sizes(found)
    assert [reader.label.split(":")[0] for reader in readers(size)][:2] == [
        "no memory, context 0",
        "no memory, context 4",
    ]

    def better(record: LanguageRecord) -> LanguageRecord:
        if record.model.segment_size != 124:
            return record
        return replace(record, position_nats=tuple(nats - 9 for nats in record.position_nats))

    assert claims([better(one) for one in found])[ALONE].outcome == "fail"
    assert claims([better(one) for one in found])[FIRST].outcome == "pass"


def test_context_that_is_no_better_fails() -> None:
    def more(record: LanguageRecord) -> float:
        return 0.3 * (record.model.segment_size == 124 + 128 and record.model.seed == 1)

    assert claims(shifted(few(), more))[CONTEXT].outcome == "fail"


def test_context_shorter_than_a_segment_is_compared_with_nothing() -> None:
    found = claims(few(contexts=(4, 100)))
    assert found[CONTEXT].outcome == "not measurable"


def test_without_memory_nothing_can_be_told() -> None:
    found = claims([one for one in few() if not one.model.memory_tokens])
    assert {claim.outcome for claim in found.values()} == {"not measurable"}


def test_the_second_title_says_who_is_on_the_frontier() -> None:
    (size,) = input_sizes(few())
    assert experiment.answer_costs([size]) == (
        "With all text read anew, memory is worth its FLOPs at input 128; in a stream, at input 128"
    )
    dear = [
        replace(one, forward_flops=100 * one.forward_flops) if one.model.memory_tokens else one
        for one in few()
    ]
    assert experiment.answer_costs(input_sizes(dear)) == (
        "Memory is not worth its FLOPs, neither with all text read anew nor in a stream"
    )


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(one.to_line() + "\n" for one in few()))
    done = rmtscale("reproduce", "figure-8", "--records", str(path), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "pass: all 3 claims hold" in done.out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    pictures = {
        f"{name}.{kind}" for name in ("figure-8", "cost-quality") for kind in ("png", "svg")
    }
    assert names == pictures | {"figure-8.csv", "records.jsonl", "README.md"}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| memory, 7 segments, in a stream |" in readme
