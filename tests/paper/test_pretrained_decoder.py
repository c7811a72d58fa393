"""The page of a pretrained decoder, from records and at toy size."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.groups import input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.recipes import SEEDS
from rmtscale.study.figures.pretrained_decoder.claims import (
    answer,
    check_claims,
    context_gains,
    gains,
    shown_alone,
    sink_pairs,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.drawing import draw
from rmtscale.study.figures.pretrained_decoder.recipes import READ
from rmtscale.study.figures.pretrained_decoder.tables import (
    gains_tables,
    losses_tables,
    trainings_table,
)
from rmtscale.study.records.clusters import bits_interval
from rmtscale.study.records.language import (
    ALL_WEIGHTS,
    LORA,
    MEMORY,
    UNTOUCHED,
)
from tests.command_line import Command
from tests.synthetic.language import baseline, curve, shifted
from tests.synthetic.pretrained_decoder import (
    CONTEXTS,
    SIZES,
    contexts,
    fixed,
    named,
    study,
    variants,
    way,
    worsened,
)

REPORTS = Path(__file__).parents[2] / "reports"


def test_ways_are_held_against_their_like() -> None:
    ways = ways_of(study())
    found = [(one.segment_size, one.trained_weights, one.memory_tokens) for one in ways]
    each = [(ALL_WEIGHTS, 2), (ALL_WEIGHTS, 10), (ALL_WEIGHTS, 32), (LORA, 10), (MEMORY, 10)]
    assert found == [(size, *one) for size in SIZES for one in each]
    for one in ways:
        wanted = UNTOUCHED if one.trained_weights == MEMORY else one.trained_weights
        assert {record.model.changed for record in one.own.values()} == {wanted}
        assert (one.own_context, *one.larger_contexts) == CONTEXTS[one.segment_size]
    names = {size_name(one, ways) for one in ways}
    assert len(names) == 10
    assert "input 256, 10 memory tokens, LoRA" in names
    chosen = [(one.trained_weights, one.memory_tokens) for one in shown_alone(ways)]
    assert chosen == [(ALL_WEIGHTS, 10)] * 2


def test_records_that_do_not_say_what_was_trained_are_one_group() -> None:
    """Those of releases before, all weights of them."""
    old = [*curve((1, 2)), baseline(4)]
    new = [*curve((1, 2), trained_weights=ALL_WEIGHTS, name="new", seed=1)]
    assert old[0].model.trained_weights is None
    (size,) = input_sizes([*old, *new])
    assert set(size.rmt[7]) == {0, 1}


def test_claims() -> None:
    ways = ways_of(study())
    claims = {claim.text: claim for claim in check_claims(ways)}
    assert sink_pairs(ways) == []
    assert len(claims) == 5 * len(ways)
    below = {
        text: claim.outcome for text, claim in claims.items() if text.endswith("below no memory")
    }
    assert set(below.values()) == {"pass", "fail"}
    for text, outcome in below.items():
        assert (outcome == "fail") == ("memory only" in text), text
    true = [claim for text, claim in claims.items() if "true context" in text]
    assert {claim.outcome for claim in true} == {"pass"}
    assert "context 752 less 4 segments" in true[1].ours


def test_a_second_segment_has_to_bring_something() -> None:
    """Table 1: reading two segments is held against reading one, by the very same model."""
    text = "input 256, 2 memory tokens, all weights: two segments below one"
    worse = shifted(study(), lambda one: 0.2 * (one.point.segments == 2))
    for found, outcome in ((study(), "pass"), (worse, "fail")):
        claims = {claim.text: claim for claim in check_claims(ways_of(found))}
        assert claims[text].outcome == outcome
        assert claims[text].ours.startswith("seed 0, 2 less 1: ")


def test_losses_are_those_of_the_records() -> None:
    found = study()
    ways = [one for one in ways_of(found) if one.segment_size == 256]
    tables = losses_tables(ways)
    assert len(tables) == len(ways) == 5

    def mean(changed: str, memory: int, segments: int, size: int) -> float:
        each = [
            bits_interval(one.whole).mean
            for one in found
            if (one.model.changed, one.model.memory_tokens) == (changed, memory)
            and (one.point.segments, one.model.segment_size) == (segments, size)
        ]
        assert len(each) == len(SEEDS)
        return sum(each) / len(each)

    for trained, table in zip(ways, tables, strict=True):
        changed, memory = trained.trained_weights, trained.memory_tokens
        assert table.title.startswith(f"{changed}, {memory} memory tokens, ")
        assert table.title.endswith(" parameters trained")
        assert table.columns == ("read with", "1 segment", "2 segments", "4 segments")
        like = UNTOUCHED if changed == MEMORY else changed
        wanted = {
            "no memory": [mean(like, 0, 1, 256)],
            "memory": [mean(changed, memory, count, 256) for count in (1, 2, 4)],
            "no memory, context 280": [mean(like, 0, 1, 192 + 280)],
            "no memory, context 752": [mean(like, 0, 1, 192 + 752)],
        }
        assert [row[0].text for row in table.rows] == list(wanted)
        for row in table.rows:
            shown = [cell.number for cell in row[1:] if cell.text]
            assert shown == pytest.approx(wanted[row[0].text])
    (alone,) = losses_tables(ways_of(way(256, 10, LORA)))
    assert [row[0].text for row in alone.rows] == ["memory"]


def test_means_of_more_seeds_than_others_say_so() -> None:
    """Only where they differ: most tables say it of none."""
    second = named("w", way(256, 10, ALL_WEIGHTS, trained_start_segments=2, seeds=[0]))
    whole = [one for one in study() if one.point.block_tokens == SIZES[256]]
    several = ways_of([*whole, *second])
    ten = [one for one in several if one.memory_tokens == 10][:2]
    (lost,) = losses_tables(ten)
    assert lost.note == (
        "Of 2 seeds, others of 1: no memory; memory; no memory, context 280; "
        "no memory, context 752."
    )
    (gained,) = gains_tables(ten)
    assert gained.columns == ("read", "memory", "from 2")
    assert gained.note.endswith(" Of 2 seeds, others of 1: memory.")
    for table in [*losses_tables(ways_of(whole)), *gains_tables(ways_of(whole))]:
        assert "seeds" not in table.markdown()
    # A mean over the seeds that both have is of those alone.
    first = [one for one in contexts(256, ALL_WEIGHTS) if one.model.seed == 0]
    (gained,) = gains_tables(ways_of([*way(256, 10, ALL_WEIGHTS), *first, *second]))
    assert "seeds" not in gained.note


@pytest.mark.usefixtures("unpainted")
def test_what_nothing_is_held_against_has_no_table_and_no_panel() -> None:
    """Memory alone at input 512, whose untouched models were not evaluated."""
    records = [
        one
        for one in study()
        if (one.point.block_tokens, one.model.changed) != (SIZES[512], UNTOUCHED)
    ]
    ways = [one for one in ways_of(records) if one.segment_size == 512]
    assert MEMORY in {one.trained_weights for one in ways}
    assert all(table.rows and MEMORY not in table.title for table in gains_tables(ways))
    assert len(gains_tables(ways)) == 4
    lost = losses_tables(ways)[-1]
    assert lost.title.startswith(MEMORY)
    assert [row[0].text for row in lost.rows] == ["memory"]
    titles = [axes.get_title("left") for axes in draw(ways_of(records)).axes]
    assert f"input 256, trained: {MEMORY}" in titles
    assert f"input 512, trained: {MEMORY}" not in titles
    assert len(titles) == 5


def test_the_answer_holds_both_sizes_and_counts_the_others() -> None:
    ways = ways_of(worsened(study()))
    alone = shown_alone(ways)
    amounts = [
        (gains(one)[4].mean, min(gap.mean for gap in context_gains(one).values())) for one in alone
    ]
    (worse, true), (other, longer) = amounts
    assert min(worse, other) > 0 > max(true, longer)
    found = answer(alone, ways)
    begin = (
        f"Read at 4 segments, as trained, memory worsens bits per byte by {worse:.4f} at input 256 "
        f"(true context improves them by {-true:.4f}) and by {other:.4f} at input "
        f"512 (true context improves them by {-longer:.4f})"
    )
    assert found.startswith(begin)
    assert found == f"{begin}; none of the 8 other trainings with memory improves them"
    mixed = [*worsened([one for one in study() if one.model.memory_tokens != 2])]
    mixed += [one for one in study() if one.model.memory_tokens == 2]
    assert answer(shown_alone(ways_of(mixed)), ways_of(mixed)).endswith(
        "; 2 of the 8 other trainings with memory improve them"
    )
    assert answer(alone) == begin
    other_lengths = [
        replace(one, model=replace(one.model, trained_segments=8))
        if one.model.changed == LORA
        else one
        for one in worsened(study())
    ]
    assert answer(alone, ways_of(other_lengths)).startswith(
        "Read as trained, memory worsens bits per "
    )
    assert answer(ways_of(way(256, 10, LORA))).endswith("none without it to compare with")


def test_gains_are_thousandths_with_half_of_their_intervals() -> None:
    ways = ways_of([*study(), *variants()])
    own = [one for one in ways if one.segment_size == 256]
    tables = {table.title: table for table in gains_tables(own)}
    assert list(tables) == [
        *(f"all weights, {count} memory tokens" for count in (2, 10, 32)),
        "LoRA, 10 memory tokens",
        "memory only, 10 memory tokens",
    ]
    lora = tables["LoRA, 10 memory tokens"]
    assert lora.columns == (
        *("read", "memory", "repeats", "from 2", "sink"),
        *("sink, from 2", "sink, from 2, repeats"),
    )
    each = [one for one in own if one.trained_weights == LORA]
    for row, count in zip(lora.rows, READ, strict=True):
        assert row[0].number == count
        for cell, one in zip(row[1:], each, strict=True):
            gain = gains(one)[count]
            assert cell.number == gain.mean
            mean, half = map(float, cell.text.split(" ± "))
            assert mean == pytest.approx(1000 * gain.mean, abs=0.051)
            assert half == pytest.approx(500 * (gain.high - gain.low), abs=0.051)
    for context, gain in context_gains(each[0]).items():
        assert f"{context} tokens {1000 * gain.mean:+.1f} ± " in lora.note


def test_tables_of_the_committed_records_fit_into_a_terminal() -> None:
    """All but the claims, whose rows are sentences."""
    page = (REPORTS / "pretrained-decoder/README.md").read_text(encoding="utf-8")
    tables, _ = page.split("## Claims")
    rows = [line for line in tables.splitlines() if line.startswith("|")]
    assert len(rows) > 60
    assert [row for row in rows if len(row) > 80] == []


def test_trainings_say_once_what_all_have() -> None:
    table = trainings_table(ways_of(study()))
    assert "steps" not in table.columns
    assert len(table.rows) == len({row[0].text for row in table.rows}) == 2 * (5 + 9)
    steps = {one.model.trained_steps for one in study() if one.model.changed != UNTOUCHED}
    assert f"All took {steps.pop():,} steps, but for those of models that stay" in table.note
    assert "Names begin" not in table.note
    assert "Of several seeds the first stands here." in table.note
    alone = [one for one in study() if one.model.seed == SEEDS[0]]
    assert "seeds" not in trainings_table(ways_of(alone)).note
    longer = [
        replace(one, model=replace(one.model, name=f"a-b-{one.model.name}", trained_steps=7))
        if one.model.changed == LORA
        else replace(one, model=replace(one.model, name=f"a-b-c-{one.model.name}"))
        for one in study()
    ]
    table = trainings_table(ways_of(longer))
    assert table.columns[1] == "steps"
    assert {row[1].number for row in table.rows if "`LoRA" in row[0].text} == {7}
    assert table.note.startswith("Names begin with `a-b-`. Of several seeds")


def test_without_a_baseline_nothing_is_claimed() -> None:
    ways = ways_of(way(256, 10, LORA))
    claims = check_claims(ways)
    assert claims[0].outcome == "not measurable"
    assert gains(ways[0]) == {}
    with pytest.raises(BadInput, match="expected models with memory"):
        ways_of(contexts(256, LORA))


def test_the_page_from_records(rmtscale: Command, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    sink = named("s", way(256, 10, LORA, sink_tokens=1))
    again = named("r", way(256, 10, LORA, sink_tokens=1, trained_repeat_share=0.5))
    records = [*study(), *fixed(256), *sink, *again]
    file.write_text("".join(record.to_line() + "\n" for record in records), encoding="utf-8")
    out = tmp_path / "out"
    done = rmtscale("reproduce", "pretrained-decoder", "--records", str(file), "--out", str(out))
    assert done.code == 1  # memory alone is made to fail
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "All weights, 10 memory tokens:\n\n| read | memory |\n" in page
    assert "LoRA, 10 memory tokens:\n\n| read | memory | sink | sink, repeats |\n" in page
    assert "True context: 280 tokens " in page
    assert "## What is trained\n" in page
    assert "**Input 256: Mixing lengths in training changes the loss by" in page
    words = " ".join(page.split())
    assert re.search(r"segments; of the lengths in between, by [+-]0\.\d{4} at 2\.\*\*", words)
    for size in SIZES:
        assert f"At input {size}, 2, 10 and 32 memory tokens leave 60, 44 and 0 tokens of" in words
        assert f"### Input {size}, trainings\n" in page
    assert "in place of the 64 without memory" in words
    assert "`fixed-256-0`" in page
    assert "## A sink in the memory\n\n**A sink token " in page
    assert "## Repeated text in training\n\n**Repeated text in training " in page
    assert "| read | LoRA, sink |\n" in page
    assert "*repeats*: 50 % of the batches repeat the segment before." in " ".join(page.split())
    assert {"pretrained-decoder.png", "positions.png", "cost-quality.png"} <= {
        path.name for path in out.iterdir()
    }
    rows = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len(rows) == len(records)


def test_a_backbone_is_of_pretrained_figures_only(rmtscale: Command, tmp_path: Path) -> None:
    refused = rmtscale("reproduce", "figure-7", "--quick", "--backbone", "x")
    assert refused.code == 2
    assert "--backbone 'x' with figure-7: expected pretrained-decoder" in refused.err
    out = str(tmp_path / "page")
    missing = rmtscale("reproduce", "pretrained-decoder", "--text", "latex=python", "--out", out)
    assert missing.code == 2
    assert "no pretrained backbone: expected --backbone with a folder" in missing.err
