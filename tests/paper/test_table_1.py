"""Table 1 from records: what was added to the backbone, with memory and without."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.table_1 import claims as experiment
from rmtscale.study.figures.table_1.table import (
    adaptation_rows,
    adaptation_table,
    adaptations,
)
from rmtscale.study.records.language import LanguageRecord
from tests.command_line import Command
from tests.synthetic.language import baseline, language, shifted

METHODS = {
    "lora": ("LoRA", 0.2),
    "adapter": ("parallel adapter", 0.3),
    "adapter-lora": ("parallel adapter + LoRA", 0.1),
}


def records() -> list[LanguageRecord]:
    """The backbone alone, and three ways of adapting: without memory, and with 1 and 2 segments.

    Without memory there are two: nothing before what is scored, and an input filled with text.
    """
    found = []
    for seed in (0, 1):
        found.append(baseline(name=f"prose-backbone-{seed}", seed=seed, shift=1.0))
        for word, (_, worse) in METHODS.items():
            given: dict[str, Any] = {
                "seed": seed,
                "trainable_parameters": 100_000,
                "trained_steps": 2000,
            }
            name = f"latex-{word}-{seed}"
            found.append(baseline(0, name=f"latex-{word}-alone-{seed}", shift=worse, **given))
            found.append(baseline(name=name, shift=worse, **given))
            for many in (1, 2):
                name = f"latex-{word}-rmt-{many}-{seed}"
                given |= {"shift": worse - 0.1, "trained_segments": many}
                found += [language(count, name=name, **given) for count in (1, 2)]
    return found


def claims(found: list[LanguageRecord]) -> dict[str, Claim]:
    return {claim.text: claim for claim in experiment.check_claims(found)}


def test_rows_are_told_by_name_and_fields() -> None:
    found = adaptations(records())
    wanted = [("backbone as it was", 0, 4)]
    rows = ((0, 0), (0, 4), (1, 0), (2, 124))
    wanted += [(title, *row) for title, _ in METHODS.values() for row in rows]
    assert [one[:3] for one in found] == wanted
    for one in found:
        assert list(one.records) == [0, 1]
        assert {read.point.segments for read in one.records.values()} == {max(one.segments, 1)}


def test_the_table_holds_the_numbers_of_the_records() -> None:
    found = adaptations(records())
    row = adaptation_table(found).rows[-1]
    plain = adaptation_rows(found)[-2:]
    assert row[2].number == plain[0]["context_tokens"] == 124
    assert row[3].number == plain[0]["trainable_parameters"] == 100_000
    nats = sum(one["loss_nats"] for one in plain) / 2
    assert row[4].number == pytest.approx(math.exp(nats), abs=1e-4)
    bits = sum(one["bits_per_byte"] for one in plain) / 2
    assert row[5].number == pytest.approx(bits, abs=1e-5)
    assert row[6].text == ", ".join(f"{one['bits_per_byte']:.4f}" for one in plain)
    assert row[7].number == plain[0]["trained_peak_bytes"]
    assert row[8].number == pytest.approx(plain[0]["step_seconds"])


def test_what_was_not_looked_at_is_said() -> None:
    blind = [replace(one, model=replace(one.model, trained_peak_bytes=None)) for one in records()]
    assert {row[7].text for row in adaptation_table(adaptations(blind)).rows} == {"-"}


def test_all_hold() -> None:
    found = claims(records())
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 9
    assert found["parallel adapter: memory is lower than none"].paper == "perplexity 41.43 to 10.31"
    last = found["parallel adapter + LoRA: two segments are lower than one"]
    assert last.paper == "perplexity 7.30 to 6.97"
    assert experiment.answer(list(found.values())) == (
        "Memory lowers the loss in 3 of 3 ways of adapting, a second segment lowers the loss in 3 "
        "of 3 ways of adapting, memory beats as long an input without in 3 of 3 ways of adapting"
    )


@pytest.mark.parametrize(
    ("name", "nats", "fails"),
    [
        (
            "rmt-1",
            0.11,
            {"memory is lower than none", "memory is lower than none in an input as long"},
        ),
        ("rmt-2", 0.19, {"two segments are lower than one"}),
        (None, -0.25, {"memory is lower than none in an input as long"}),
    ],
)
def test_one_seed_on_the_wrong_side_fails(name: str | None, nats: float, fails: set[str]) -> None:
    wrong = "latex-lora-1" if name is None else f"latex-lora-{name}-1"
    found = claims(shifted(records(), lambda record: nats * (record.model.name == wrong)))
    failed = {text for text, claim in found.items() if claim.outcome == "fail"}
    assert failed == {f"LoRA: {one}" for one in fails}
    assert "in 2 of 3 ways" in experiment.answer(list(found.values()))


def test_without_memory_nothing_can_be_told() -> None:
    found = claims([one for one in records() if not one.model.memory_tokens])
    assert {claim.outcome for claim in found.values()} == {"not measurable"}
    assert "no way of adapting" in experiment.answer(list(found.values())).lower()


def test_models_read_at_other_lengths_only_are_refused() -> None:
    with pytest.raises(BadInput, match="expected models read at the length of their training"):
        adaptations([language(1, trained_segments=2)])


def test_from_records(rmtscale: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "records.jsonl", tmp_path / "out"
    path.write_text("".join(one.to_line() + "\n" for one in records()))
    done = rmtscale("reproduce", "table-1", "--records", str(path), "--out", str(out))
    assert done.code == 0, done.err
    assert "pass: all 9 claims hold" in done.out
    assert {file.name for file in out.iterdir()} == {"table-1.csv", "records.jsonl", "README.md"}
    assert (out / "table-1.csv").read_text().count("\n") == 1 + 2 * 13
    page = (out / "README.md").read_text()
    assert "| parallel adapter + LoRA | 2 |" in page
    assert "comparable only where trainings ran one at a time on a GPU" in page
