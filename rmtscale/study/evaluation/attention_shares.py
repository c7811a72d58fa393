"""Shares of attention: what written memory, the answer and scored text look at.

Shape legend: T positions of a segment, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rmtscale.study.evaluation.attention import AttentionMap, Places
from rmtscale.study.evaluation.attention_samples import AttentionSample

WRITTEN, READ, TEXT = "written memory", "memory read", "other text"
SINK = "sink"
"""Name of memory that keeps its initial value."""
BOTH = "memory"
"""Name of an encoder's memory, which is read and written at the same positions: in its first layer
a look at them is one at the memory read, in the others one at what has been made of it so far."""


@dataclass(frozen=True, slots=True)
class AttentionShare:
    """The share of their attention that some queries of a segment pay to some keys."""

    segment: int
    """Index of the segment, from 0."""
    query: str
    key: str
    most: float
    """In the head that pays them most."""
    mean: float
    """Over layers and heads."""
    even: float
    """Were all positions looked at alike."""


def parts_inside(sample: AttentionSample, text: Sequence[int], first: int) -> dict[str, list[int]]:
    """Returns the positions of the parts of a sample that stand in a segment.

    Args:
        sample: the whole input.
        text: positions of the segment's text.
        first: column of the input that its text begins with.
    """
    inside = {
        name: [text[at - first] for part in runs for at in part if 0 <= at - first < len(text)]
        for name, runs in sample.parts.items()
    }
    return {name: positions for name, positions in inside.items() if positions}


def shares(
    attention: AttentionMap, where: Places, parts: dict[str, list[int]], *, answers: bool
) -> Iterator[AttentionShare]:
    """Yields what each kind of query looks at.

    Args:
        attention: of one segment.
        where: its memory and text.
        parts: positions of what matters in it, by name.
        answers: whether a memory task is answered here.
    """
    written, read = (BOTH, BOTH) if where.read == where.write else (WRITTEN, READ)
    queries = {written: where.write} if where.write else {}
    if answers:
        queries["answer"] = [where.answer]
    queries |= {name: at for name, at in parts.items() if name not in ("fact", "question")}
    named = {at for positions in parts.values() for at in positions}
    keys = {SINK: list(where.sink)} if where.sink else {}
    keys |= {read: where.read} if where.read else {}
    keys |= parts
    keys[TEXT] = [at for at in where.text if at not in named]
    count = len(attention.labels)
    for query, rows in queries.items():
        for key, columns in keys.items():
            if columns:
                # (layers, H): mean over queries of the sum over keys.
                by_head = attention.weights[:, :, rows][..., columns].sum(3).mean(2)
                yield AttentionShare(
                    attention.segment,
                    query,
                    key,
                    float(by_head.max()),
                    float(by_head.mean()),
                    len(columns) / count,
                )
