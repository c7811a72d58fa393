"""What docs/study.md says of text, and of Reasoning beside the paper, is what the records say."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from statistics import mean

from rmtscale.study.figures import figure_5
from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.records.language import LanguageStore

STUDY = (REPORTS.parent / "docs" / "study.md").read_text(encoding="utf-8")
WORDS = " ".join(STUDY.split())
PAPER = Path(str(figure_5.__file__)).parent / "published.csv"


def bits(figure: str) -> dict[tuple[str, int, int], float]:
    """Bits per byte by recipe without its seed, seed and segments read."""
    found = {}
    for one in LanguageStore(REPORTS / figure / "records.jsonl").read().records:
        part, recipe = one.parts["all"], one.model.name.removesuffix(f"-{one.model.seed}")
        loss = sum(part.loss_nats) / sum(part.text_bytes) / math.log(2)
        found[recipe, one.model.seed, one.point.segments] = loss
    return found


def test_the_table_of_results_on_text() -> None:
    read = bits("figure-7")
    (table,) = re.findall(r"\n\n\| input \| no memory, the block alone .*?\n\n", STUDY, re.DOTALL)
    for line in table.strip().splitlines()[2:]:
        size, *cells = (cell.strip().strip("*") for cell in line.split("|")[1:-1])
        last, trained = re.findall(r"([\d.]+) \((\d+)\)", cells[3])[0]
        block = {"128": 112, "512": 496}[size]
        memory = f"latex-{size}-rmt-{trained}-mixing"
        for text, recipe, segments in (
            (cells[0], f"latex-{size}-context-0", 1),
            (cells[1], f"latex-{size}-context-16", 1),
            (cells[2], memory, 2),
            (last, memory, int(trained)),
            (cells[4], f"latex-{size}-context-{block}", 1),
        ):
            assert text == f"{mean(read[recipe, seed, segments] for seed in (0, 1)):.3f}"


def test_proofs_in_one_pass() -> None:
    read = bits("figure-9")
    one_pass, memory = (
        mean(read[recipe, seed, segments] for seed in (0, 1))
        for recipe, segments in (("lean-beside", 1), ("lean-rmt-2", 2))
    )
    assert f"is better ({one_pass:.3f} against {memory:.3f} at 480 tokens)" in WORDS


def test_adapters_beside_true_text() -> None:
    read = bits("table-1")

    def gains(other: str, *counts: int) -> list[float]:
        """Bits per byte that memory, read at so many segments, takes off another training."""
        return [
            read[f"{kind}{other}", seed, 1] - read[f"{kind}-rmt-{count}", seed, count]
            for kind in ("adapt-adapter", "adapt-adapter-lora")
            for count in counts
            for seed in (0, 1)
        ]

    alone, second, true = gains("-alone", 1, 2), gains("-rmt-1", 2), gains("", 2)
    assert f"takes {min(alone):.3f} to {max(alone):.3f} bits per byte off the block" in WORDS
    assert f"contributes {min(second):.3f} to {max(second):.3f} of it" in WORDS
    assert f"({max(true):.4f} better to {-min(true):.4f} worse)" in WORDS


def test_where_reasoning_is_below_the_paper() -> None:
    with PAPER.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "reasoning"]
    paper = {int(row["segments"]): float(row["accuracy_pct"]) / 100 for row in rows}
    trainings: dict[str, list[EvaluationRecord]] = {}
    for one in EvaluationStore(REPORTS / "figure-5" / "records.jsonl").read().records:
        backbone = one.trained_backbone
        small = backbone is not None and not backbone.pretrained
        if small and one.point.task == "reasoning" and not one.trained_from:
            trainings.setdefault(one.point.weights, []).append(one)
    assert len(trainings) == 4
    begins = []
    for own in trainings.values():
        below = [one for one in own if one.high < paper.get(one.point.segments, 0)]
        first = min(one.point.segments for one in below)
        later = [one for one in own if one.point.segments >= first]
        assert len(later) == len(below)
        begins.append(below[0].point.segment_tokens * first)
    ends = sorted(begins)
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]
    said = f"from {ends[0]:,} tokens on in two of its four trainings and from {ends[2]:,} on"
    assert said in WORDS
    every = [one for own in trainings.values() for one in own]
    under = [100 * (paper[512] - one.accuracy) for one in every if one.point.segments == 512]
    assert f"by {min(under):.1f} to {max(under):.1f} points there" in WORDS
    short = [one.accuracy for one in every if one.point.tokens <= 32_256]
    assert min(short) >= 0.95
