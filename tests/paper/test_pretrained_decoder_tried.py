"""The predictions beside the page of a pretrained decoder, and what documents say of it.

Numbers were written by hand: they are held against the committed records.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rmtscale.study.figures.figure_9.claims import against, against_one_pass
from rmtscale.study.figures.figure_9.drawing import Prover, provers
from rmtscale.study.figures.language.groups import InputSize, by_backbone
from rmtscale.study.figures.pretrained_decoder.claims import (
    context_gains,
    curricula,
    gains,
    shown_alone,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.tables import mixing_gains
from rmtscale.study.records.clusters import Interval, paired_difference
from rmtscale.study.records.language import ALL_WEIGHTS, LORA, MEMORY, LanguageRecord, LanguageStore

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "reports/pretrained-decoder"


def words_of(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def said() -> str:
    text = words_of(REPORT / "tried/README.md")
    return text[text.index("## Input 512, 2 and 32") : text.index("## How to look")]


@pytest.fixture(scope="module")
def records() -> list[LanguageRecord]:
    return list(LanguageStore(REPORT / "records.jsonl").read().latest().values())


@pytest.fixture(scope="module")
def theorems() -> list[Prover]:
    file = ROOT / "reports/figure-9/records.jsonl"
    return provers(by_backbone(LanguageStore(file).read().latest().values())["smollm2"])


def plain(records: list[LanguageRecord], size: int, memory: int, changed: str) -> InputSize:
    """The way without a sink, from one segment on, without repeats."""
    (found,) = (
        one
        for one in ways_of(records)
        if (one.segment_size, one.memory_tokens, one.trained_weights) == (size, memory, changed)
        and (one.sink_tokens, one.start_segments, one.repeat_share) == (0, 1, 0.0)
    )
    return found


def whole(gain: Interval) -> str:
    return f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"


def less_none(way: InputSize, seed: int, count: int) -> Interval:
    (most,) = way.rmt
    return paired_difference(way.rmt[most][seed][count].whole, way.own[seed].whole)


def test_input_512(said: str, records: list[LanguageRecord]) -> None:
    every = plain(records, 512, 10, ALL_WEIGHTS)
    found = gains(every)
    assert f"| {whole(found[2])}: **true** |" in said
    assert max(abs(found[count].mean - found[2].mean) for count in (4, 8, 16)) < 1e-4
    lora, alone = (gains(plain(records, 512, 10, one)) for one in (LORA, MEMORY))
    assert f"| {lora[2].mean:+.4f}: **true** |" in said
    assert f"| {alone[2].mean:+.4f}, {alone[4].mean:+.4f} at four: **true** |" in said
    assert f"| {context_gains(every)[1520].mean:.4f}: **false**, it brings more |" in said


def test_sizes_of_memory(said: str, records: list[LanguageRecord]) -> None:
    few, ten, many = (plain(records, 256, count, ALL_WEIGHTS) for count in (2, 10, 32))
    first, second = (less_none(ten, seed, 2) for seed in (0, 1))
    assert f"| {gains(few)[2].mean:+.4f}: **true** |" in said
    assert f"| {gains(many)[2].mean:+.4f}: **false**, nearly twice as much |" in said
    assert gains(few)[2].mean < first.mean < gains(many)[2].mean
    assert f"{whole(second)} at two segments, where the first has {first.mean:+.4f}." in said
    (start, *_, last), (begin, *_, end) = eighths(many, 2), eighths(few, 2)
    assert f"costs {start:.2f} more than without memory" in said
    assert f"the last eighth still {last:.2f}." in said
    assert f"it is {begin:.3f} and {end:.3f}." in said


def eighths(way: InputSize, count: int) -> list[float]:
    """Bits per byte above those without memory, by eighths of the block, of the first seed."""
    (most,) = way.rmt
    pair = (way.rmt[most][0][count], way.own[0])
    more, less = (record.position_bits_per_byte for record in pair)
    size = len(more) // 8
    each = [a - b for a, b in zip(more, less, strict=True)]
    return [sum(each[at * size : (at + 1) * size]) / size for at in range(8)]


def test_fixed_lengths(said: str, records: list[LanguageRecord]) -> None:
    (pair,) = curricula(records, shown_alone(ways_of(records)))
    found = mixing_gains(pair)
    assert f"| {abs(found[4].mean):.4f}: **true** |" in said
    alone = found[1]
    worse = f"{-alone.mean:.4f} ({-alone.high:+.4f} to {-alone.low:+.4f})"
    assert f"| worse by {worse}: **false** |" in said
    read = pair["fixed"].rmt[4][0]
    assert f"alone: {read[2].whole.bits_per_byte:.4f}, {-found[2].mean:.4f} above mixed" in said
    assert max(abs(found[count].mean) for count in (1, 4, 8, 16)) < 1e-3
    assert f"two segments cost {read[2].whole.mean_nats:.2f} nats, four " in said
    assert f"nats, four {read[4].whole.mean_nats:.2f}." in said
    first, *others = eighths(pair["fixed"], 2)
    assert f"costs {first:.2f} more than without memory, the others" in said
    assert f"the others {min(others):.2f} to {max(others):.2f}:" in said
    with (REPORT / "trainings/intervals.csv").open(encoding="utf-8") as file:
        stages = {
            row["step"]: row
            for row in csv.DictReader(file)
            if row["training"] == "smollm2-256-rmt-10-fixed-0"
        }
    assert stages["100"]["stage"] == "2 segments"
    assert stages["200"]["stage"] == "3 segments"
    assert f"{float(stages['100']['loss_nats']):.2f} nats a token over" in said


def test_theorems(said: str, theorems: list[Prover]) -> None:
    (memory,) = (one for one in theorems if one.memory)
    (apart,) = (one for one in theorems if not one.memory and not one.one_pass)
    (one_pass,) = (one for one in theorems if one.one_pass)
    found = [gap.interval for gap in against(memory, theorems, "all")]
    assert f"| {whole(found[0])}: **false** |" in said
    assert f"costs {found[0].mean:.4f} to {found[-1].mean:.4f} at 2 to 8 segments" in said
    (above,) = (gap.interval for gap in against_one_pass(theorems, "all"))
    without = apart.runs[0][2].whole.bits_per_byte - one_pass.runs[0][1].whole.bits_per_byte
    assert f"below none by {without:.4f}, below memory by {above.mean:.4f}:" in said


def test_what_the_run_printed(said: str) -> None:
    """Positions a second of the two runs that the prediction was about."""
    printed = (REPORT / "tried/run-512.txt").read_text(encoding="utf-8")
    before, _ = printed.split("# what was not evaluated")
    rates = [
        int(line.split("] ")[1].split()[0].replace(",", ""))
        for line in before.splitlines()
        if "positions a second" in line
    ]
    assert f"| {min(rates):,} to {max(rates):,}: **false**, faster" in said
    ends = [float(line[1:8]) for line in before.splitlines() if "] trained " in line]
    assert len(ends) == 2
    assert f"trained by {max(ends):.0f} s" in said
    assert "given up" not in printed


def test_the_study(records: list[LanguageRecord], theorems: list[Prover]) -> None:
    text = words_of(ROOT / "docs/study.md")

    def span(size: int, memory: int, changed: str, digits: int = 3) -> str:
        means = [gain.mean for gain in gains(plain(records, size, memory, changed)).values()]
        low, high = (f"{of(means):.{digits}f}" for of in (min, max))
        return low if low == high else f"{low} to {high}"

    assert f"memory costs {span(256, 10, ALL_WEIGHTS)} bits per byte at input 256" in text
    assert f"and {span(512, 10, ALL_WEIGHTS)} at input 512 (one), with LoRA" in text
    assert f"LoRA {span(256, 10, LORA)} and {span(512, 10, LORA)}, whether 1 or 16" in text
    true = [
        min(gain.mean for gain in context_gains(plain(records, size, 10, ALL_WEIGHTS)).values())
        for size in (256, 512)
    ]
    assert f"true text in its place brings {-true[0]:.3f} and {-true[1]:.3f}." in text
    assert f"Two memory tokens cost {span(256, 2, ALL_WEIGHTS)}, and 32" in text
    assert f"no text before it, {span(256, 32, ALL_WEIGHTS)}." in text
    (memory,) = (one for one in theorems if one.memory)
    found = [gap.interval.mean for gap in against(memory, theorems, "all")]
    assert f"On theorems memory costs {min(found):.3f} to {max(found):.3f} (" in text
    (pair,) = curricula(records, shown_alone(ways_of(records)))
    assert f"but at two segments, {-mixing_gains(pair)[2].mean:.3f} worse:" in text
