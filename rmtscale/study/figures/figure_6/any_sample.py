"""Figure 6 of any sample: what memory, answer and scored text look at, of any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure_6.drawing import Heatmap, draw
from rmtscale.tabular import csv_text, markdown_table
from rmtscale.units import format_percent

if TYPE_CHECKING:
    from rmtscale.study.evaluation.attention import AttentionMap, Spelling
    from rmtscale.study.evaluation.attention_samples import AttentionSample
    from rmtscale.study.evaluation.attention_shares import AttentionShare
    from rmtscale.study.training.rolling import Roller

MOST_SHOWN = 16
"""Segments in one picture."""
NAME = "attention"


@dataclass(frozen=True, slots=True)
class Look:
    """One segment: its picture, and what is looked at in it."""

    heatmap: Heatmap
    shares: tuple[AttentionShare, ...]


def look(
    reader: Roller,
    spelling: Spelling,
    sample: AttentionSample,
    shown: list[int] | None,
    *,
    answered: bool,
) -> list[Look]:
    """Reads a sample and returns a look at each segment that is shown.

    Args:
        reader: of the checkpoint.
        spelling: says which text each token is.
        sample: the input, (N,).
        shown: segments from 0; None is all of them.
        answered: whether the sample is of a memory task, answered at its end.

    Raises:
        BadInput: no such segment.
    """
    from rmtscale.rmt.segmenting import cut
    from rmtscale.study.evaluation.attention import attention_maps

    bounds = cut(len(sample.ids), reader.model.segment_tokens)
    return [
        _one(
            reader,
            attention,
            sample,
            bounds[attention.segment][0],
            last=answered and attention.segment == len(bounds) - 1,
        )
        for attention in attention_maps(reader, spelling, sample.ids, shown)
    ]


def _one(
    reader: Roller, attention: AttentionMap, sample: AttentionSample, first: int, *, last: bool
) -> Look:
    from rmtscale.study.evaluation.attention import places
    from rmtscale.study.evaluation.attention_shares import parts_inside, shares

    where = places(reader.model, len(attention.labels))
    parts = parts_inside(sample, where.text, first)
    marked = [range(at, at + 1) for positions in parts.values() for at in positions]
    title = f"segment {attention.segment + 1}: {', '.join(parts) or 'other text'}"
    memory = [*where.sink, *where.read, *where.write]
    weights = attention.average()
    heatmap = Heatmap(title, attention.labels, weights, marked, memory, where.special)
    return Look(heatmap, tuple(shares(attention, where, parts, answers=last)))


def rows(looks: Sequence[Look]) -> list[dict[str, object]]:
    """Returns a row of plain numbers for each share."""
    return [
        {
            "segment": share.segment + 1,
            "query": share.query,
            "key": share.key,
            "share_of_head_that_looks_most": round(share.most, 6),
            "mean_share": round(share.mean, 6),
            "even_share": round(share.even, 6),
        }
        for each in looks
        for share in each.shares
    ]


COLUMNS = ("segment", "what looks", "at", "most", "mean", "even")


def cells(looks: Sequence[Look]) -> list[list[str]]:
    """Returns the same rows as text, under ``COLUMNS``."""
    return [
        [
            str(share.segment + 1),
            share.query,
            share.key,
            *(format_percent(value) for value in (share.most, share.mean, share.even)),
        ]
        for each in looks
        for share in each.shares
    ]


def files(title: str, about: str, looks: Sequence[Look]) -> dict[str, bytes | str]:
    """Returns the page, the picture and the numbers, by name."""
    page = f"""# {title}

{about}

![Attention in the segments of one sample]({NAME}.png)

Queries down, keys across; attention averaged over layers and heads. Blue: memory; orange: what the
title of a segment names. Stretches of other text are one cell: the sum of its keys, the mean of its
queries.

{markdown_table(COLUMNS, cells(looks))}

*most*: share of the attention in the head that pays most; *mean*: over layers and heads; *even*:
were all positions looked at alike. Numbers: [{NAME}.csv]({NAME}.csv).
"""
    pictures = picture_files(NAME, draw([each.heatmap for each in looks]))
    return {"README.md": page, f"{NAME}.csv": csv_text(rows(looks)), **pictures}
