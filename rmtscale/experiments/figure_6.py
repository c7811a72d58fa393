"""Figure 6 of the paper: attention of a 4-segment reasoning sample. Measured.

The first validation sample with one fact in the first segment, none in the second, the other in
the third, and the question in the fourth. Claims: where a fact stands the memory that is written
looks at it; where none stands it looks at the memory that was read; the answer looks at memory.
Looks: in the head that does so most, a key of one kind gets at least twice the attention of a token
of other text. (In a model that has learned nothing all keys get about the same in every head.)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.evaluation.attention import AttentionMap, attention_maps
from rmtscale.evaluation.evaluate import data_of
from rmtscale.experiments.memory_tasks import plan
from rmtscale.experiments.training_runs import How, best_checkpoint, train_all
from rmtscale.files import require_writable, write_whole
from rmtscale.report.claims import Claim, Outcome, markdown_table
from rmtscale.report.figures.figure_6 import Heatmap, draw
from rmtscale.report.style import render
from rmtscale.training.checkpoint import Checkpoint, load_checkpoint
from rmtscale.training.data import TaskData
from rmtscale.training.device import find_device
from rmtscale.training.reading import Reader
from rmtscale.units import format_ratio

NAME = "figure-6"
SEGMENTS = 4
FACTS_IN = (0, 2)
CLEARLY = 2.0
WHAT = (
    "a fact: detected and written",
    "no fact: memory is kept",
    "a fact: detected and written",
    "the question: answered from memory",
)
_TRIES = 200
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One input, and where its facts and its question stand."""

    ids: Any
    answer: int
    facts: tuple[range, ...]
    """Columns of each fact."""
    question: range


@dataclass(frozen=True, slots=True)
class Looks:
    """Attention per key of one kind of query, over that to a token of other text; largest head."""

    segment: int
    query: str
    at_fact: float | None
    at_memory: float


def run(
    folder: Path,
    *,
    force: bool = False,
    records: Path | None = None,
    how: How | None = None,
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
) -> list[Claim]:
    """Writes the heatmaps, numbers and a README into ``folder``; returns the claims, checked."""
    if records is not None:
        raise BadInput(f"records {str(records)!r}: {NAME} is made of a checkpoint, not of records")
    assert how is not None, "a way to train"
    wanted = plan(NAME, quick=quick, background=how.background, seeds=seeds)
    left = train_all(wanted.recipes, how)
    if left:
        raise CheckFailed(f"time is up, {', '.join(left)} is not done; the same command goes on")
    name = next(iter(wanted.recipes))
    (source,) = best_checkpoint(how.runs / name).values()
    checkpoint = load_checkpoint(source, "reasoning")
    reader = Reader(checkpoint.answerer, find_device(how.device))
    data = data_of(checkpoint, how.background)
    sample = find_sample(data, reader.answerer.segment_tokens)
    maps = attention_maps(reader, data.vocabulary, sample.ids)
    found = [look for one in maps for look in measure(reader, one, sample)]
    claims = check_claims(found)
    chosen = int(reader.logits(sample.ids[None]).argmax())
    figure = draw([_heatmap(reader, one, sample) for one in maps])
    words = data.vocabulary.decode(sample.ids.tolist())
    contents: dict[str, bytes | str] = {
        **{f"{NAME}.{kind}": content for kind, content in render(figure).items()},
        f"{NAME}.csv": _csv(found),
        "README.md": _readme(checkpoint, data, sample, words, chosen, claims),
    }
    require_writable([folder / file for file in contents], force=force)
    for file, content in contents.items():
        write_whole(folder / file, content)
    return claims


def find_sample(data: TaskData, segment_tokens: int) -> Sample:
    """The first validation sample whose facts stand in the first and the third segment.

    Raises:
        BadInput: there is none among many (two facts do not fit in the segments so).
    """
    tokens = SEGMENTS * segment_tokens
    batches = data.batches(tokens, segment_tokens, split="validation", batch_size=_BATCH)
    facts = data.vocabulary
    lengths = {len(facts.array(text)) for text in data.task.all_facts()}
    question = max(len(facts.array(text)) for text in data.task.all_questions())
    for index in range(_TRIES):
        batch = batches.batch(index)
        segments = batch.fact_positions // segment_tokens
        for row in range(_BATCH):
            if sorted(segments[row].tolist()) != list(FACTS_IN):
                continue
            positions = sorted(batch.fact_positions[row].tolist())
            return Sample(
                batch.ids[row],
                int(batch.answers[row]),
                tuple(range(start, start + max(lengths)) for start in positions),
                range(tokens - question, tokens),
            )
    raise BadInput(
        f"segments of {segment_tokens} tokens: expected room for a fact in the first and the third"
    )


def measure(reader: Reader, one: AttentionMap, sample: Sample) -> list[Looks]:
    """What the written memory, and in the last segment the answer, look at."""
    read, text, write, answer = layout(reader, len(one.labels))
    fact = _inside(sample.facts, one.segment, text)
    asked = _inside([sample.question], one.segment, text)
    other = [at for at in text if at not in fact and at not in asked]
    queries = {"written memory": write}
    if one.segment == SEGMENTS - 1:
        queries["answer"] = [answer]

    def largest(rows: Sequence[int], keys: Sequence[int]) -> float:
        found = one.weights[:, :, list(rows)]
        ratios = found[..., list(keys)].mean((2, 3)) / found[..., other].mean((2, 3))
        return float(ratios.max())

    return [
        Looks(one.segment, query, largest(rows, fact) if fact else None, largest(rows, read))
        for query, rows in queries.items()
    ]


def layout(reader: Reader, positions: int) -> tuple[list[int], list[int], list[int], int]:
    """Positions of the memory read, of the text, of the memory written, and of the answer."""
    memory = reader.answerer.rmt.config.memory_tokens
    everything = list(range(positions))
    if reader.answerer.decoder:
        text = everything[memory : positions - memory]
        return everything[:memory], text, everything[positions - memory :], text[-1]
    both = everything[1 : 1 + memory]
    return both, everything[memory + 2 : -1], both, 0


def _inside(columns: Sequence[range], segment: int, text: Sequence[int]) -> list[int]:
    """Positions in a segment of columns of the whole input."""
    start = segment * len(text)
    return [text[at - start] for part in columns for at in part if 0 <= at - start < len(text)]


def check_claims(found: Sequence[Looks]) -> list[Claim]:
    """The three things the figure shows."""
    claims = []
    for look in found:
        where = f"segment {look.segment + 1}, {look.query}"
        if look.query == "answer" or (look.at_fact is None and look.segment < SEGMENTS - 1):
            claims.append(_more(f"{where} looks at the memory read", look.at_memory))
        elif look.at_fact is not None:
            claims.append(_more(f"{where} looks at the fact", look.at_fact))
    return claims


def _more(text: str, ratio: float) -> Claim:
    outcome: Outcome = "pass" if ratio >= CLEARLY else "fail"
    return Claim(text, "seen", f"{format_ratio(ratio)} of other text", outcome, "x2 a key")


def _heatmap(reader: Reader, one: AttentionMap, sample: Sample) -> Heatmap:
    read, text, write, _ = layout(reader, len(one.labels))
    marked = _inside([*sample.facts, sample.question], one.segment, text)
    runs = [range(at, at + 1) for at in marked]
    title = f"{one.segment + 1}: {WHAT[one.segment]}"
    return Heatmap(title, one.labels, one.average(), runs, [*read, *write])


def _csv(found: Sequence[Looks]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["segment", "query", "at_fact", "at_memory"])
    for look in found:
        fact = "" if look.at_fact is None else f"{look.at_fact:.6g}"
        writer.writerow([look.segment + 1, look.query, fact, f"{look.at_memory:.6g}"])
    return text.getvalue()


def _readme(
    checkpoint: Checkpoint,
    data: TaskData,
    sample: Sample,
    words: Sequence[str],
    chosen: int,
    claims: list[Claim],
) -> str:
    facts = [" ".join(words[at] for at in part) for part in sample.facts]
    question = " ".join(words[at] for at in sample.question)
    right, said = data.task.classes[sample.answer], data.task.classes[chosen]
    return f"""# Figure 6: what memory and answer look at

Made by `rmtscale reproduce figure-6` from a model trained on {checkpoint.trained_segments}
segments of {checkpoint.settings.segment_size} ({checkpoint.trained.stage}). One sample of four
segments, the first of the validation samples whose facts stand in the first and the third:
"{facts[0]}" ... "{facts[1]}" ... "{question}" Right is {right}, the model says {said}.

![Attention in four segments](figure-6.png)

Queries down, keys across; attention averaged over layers and heads. Blue: memory; orange: facts
and question.

{markdown_table(claims)}

Numbers: [figure-6.csv](figure-6.csv): attention per key over that to a token of other text, in the
head where it is largest.
"""
