"""Figure 6 of the paper: attention of a 4-segment reasoning sample. Measured.

The first validation sample with one fact in the first segment, none in the second, the other in
the third, and the question in the fourth. Claims: where a fact stands the memory that is written
looks at it; where none stands it looks at the memory that was read; the answer looks at memory.
Looks: in the head that does so most, at least twice the share of attention that an even look would
give. (In a model that has learned nothing all keys get about the same in every head.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.files import require_writable, write_whole
from rmtscale.report.claims import Claim, Outcome, claims_table
from rmtscale.report.style import render
from rmtscale.study.evaluation.attention import AttentionMap, attention_maps
from rmtscale.study.evaluation.evaluate import data_of
from rmtscale.study.figures.figure_6.drawing import Heatmap, draw
from rmtscale.study.figures.memory_tasks.recipes import plan
from rmtscale.study.figures.training_runs import How, best_checkpoint, train_all
from rmtscale.study.training.device import find_device
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.tabular import csv_text
from rmtscale.units import format_percent

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


class Share(NamedTuple):
    """Of the attention."""

    found: float
    even: float
    """Were all positions looked at alike."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What one kind of query looks at, each in the head that does so most."""

    segment: int
    query: str
    at_fact: Share | None
    at_memory: Share


def run(
    folder: Path,
    *,
    force: bool = False,
    records: Path | None = None,
    how: How | None = None,
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
    checkpoint: Path | None = None,
) -> list[Claim]:
    """Writes the heatmaps, numbers and a README into ``folder``; returns the claims, checked.

    Args:
        folder: to write to.
        force: overwrite what is there.
        records: there are none.
        how: where and how to train; background and device of a checkpoint, too.
        quick: the toy size.
        seeds: None is the first.
        checkpoint: of reasoning, in the place of a training.

    Raises:
        BadInput: records, or a checkpoint of another task.
        CheckFailed: the time was up before the training was done.
    """
    if records is not None:
        raise BadInput(f"records {str(records)!r}: {NAME} is made of a checkpoint, not of records")
    assert how is not None, "a way to train"
    kept = load_checkpoint(checkpoint or _trained(how, quick=quick, seeds=seeds), "reasoning")
    reader = Reader(kept.answerer, find_device(how.device))
    data = data_of(kept, how.background)
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
        "README.md": _readme(kept, data, sample, words, chosen, claims),
    }
    require_writable([folder / file for file in contents], force=force)
    for file, content in contents.items():
        write_whole(folder / file, content)
    return claims


def _trained(how: How, *, quick: bool, seeds: tuple[int, ...] | None) -> Path:
    """The checkpoint of the recipe."""
    wanted = plan(NAME, quick=quick, background=how.background, seeds=seeds)
    left = train_all(wanted.recipes, how)
    if left:
        raise CheckFailed(f"time is up, {', '.join(left)} is not done; the same command goes on")
    name = next(iter(wanted.recipes))
    (source,) = best_checkpoint(how.runs / name).values()
    return source


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
    queries = {"written memory": write}
    if one.segment == SEGMENTS - 1:
        queries["answer"] = [answer]

    def largest(rows: Sequence[int], keys: Sequence[int]) -> Share:
        found = one.weights[:, :, list(rows)][..., list(keys)].sum(3).mean(2)
        return Share(float(found.max()), len(keys) / len(one.labels))

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


def _more(text: str, share: Share) -> Claim:
    outcome: Outcome = "pass" if share.found >= CLEARLY * share.even else "fail"
    found, even = (format_percent(value) for value in share)
    return Claim(text, "seen", f"{found} of the attention, even: {even}", outcome, "twice even")


def _heatmap(reader: Reader, one: AttentionMap, sample: Sample) -> Heatmap:
    read, text, write, _ = layout(reader, len(one.labels))
    marked = _inside([*sample.facts, sample.question], one.segment, text)
    runs = [range(at, at + 1) for at in marked]
    title = f"{one.segment + 1}: {WHAT[one.segment]}"
    return Heatmap(title, one.labels, one.average(), runs, [*read, *write])


def _csv(found: Sequence[Looks]) -> str:
    return csv_text(
        {
            "segment": look.segment + 1,
            "query": look.query,
            "key": key,
            "share": f"{share[0]:.6g}",
            "even_share": f"{share[1]:.6g}",
        }
        for look in found
        for key, share in (("fact", look.at_fact), ("memory read", look.at_memory))
        if share is not None
    )


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
    settings = checkpoint.settings
    right, said = data.task.classes[sample.answer], data.task.classes[chosen]
    return f"""# Figure 6: what memory and answer look at

Made by `rmtscale reproduce figure-6` from {settings.backbone}, seed {settings.seed}, after
{checkpoint.trained.step:,} steps on up to {checkpoint.trained_segments} segments of
{settings.segment_size} ({checkpoint.trained.stage}). One sample of four segments, the first of
the validation samples whose facts stand in the first and the third:
"{facts[0]}" ... "{facts[1]}" ... "{question}" Right is {right}, the model says {said}.

![Attention in four segments](figure-6.png)

Queries down, keys across; attention averaged over layers and heads. Blue: memory; orange: facts
and question. Stretches of other text are one cell: the sum of its keys, the mean of its queries.

{claims_table(claims)}

Numbers: [figure-6.csv](figure-6.csv): share of the attention, in the head where it is largest.
"""
