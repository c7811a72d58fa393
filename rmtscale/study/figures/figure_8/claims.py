"""Figure 8 of the paper: loss by position in the block, and quality against cost. Measured.

Claims: without memory the first tokens of a block cost more than with it, and the gap closes
towards its end; true context before the block is lower still. The paper's model without memory
sees the block alone; ours does too, and another that fills the positions memory takes. A second
picture sets the loss against FLOPs and measured time, baselines by context, memory by segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.report.claims import Claim
from rmtscale.report.style import render
from rmtscale.study.figures.figure_8.cost_quality import KINDS, choices, frontier
from rmtscale.study.figures.figure_8.cost_quality import draw as draw_costs
from rmtscale.study.figures.figure_8.drawing import draw, memories
from rmtscale.study.figures.language.claims import contrast, lower
from rmtscale.study.figures.language.groups import InputSize, difference, input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.page import (
    LANGUAGE_MODELING,
    page,
    running,
    write_page,
)
from rmtscale.study.figures.language.tables import cost_table
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_loss, format_ratio, format_tokens

NAME = "figure-8"
COSTS = "cost-quality"
EDGE = 8
"""The first and the last eighth of the block."""


def write(folder: Path, records: Sequence[LanguageRecord], *, force: bool = False) -> list[Claim]:
    """Everything that is made of the records; the claims, checked."""
    sizes = input_sizes(records, mixing=True)
    claims = check_claims(records)
    said, costs = answer(sizes), answer_costs(sizes)
    pictures = {NAME: render(draw(sizes, said)), COSTS: render(draw_costs(sizes, costs))}
    readme = page(
        NAME,
        "Figure 8: where in the block memory helps, and at what cost",
        records,
        claims,
        _body(sizes, said, costs),
    )
    write_page(folder, NAME, pictures, records, readme, force=force)
    return claims


run = running(NAME, LANGUAGE_MODELING, write)


def check_claims(records: Sequence[LanguageRecord]) -> list[Claim]:
    """Every claim, held against the records."""
    sizes = input_sizes(records, mixing=True)
    claims = []
    for size in sizes:
        name = size_name(size, sizes)
        for words, baseline in _baselines(size).items():
            gaps = edge_gaps(size, baseline)
            claims += [_first_tokens(name, words, gaps), _closes(name, words, gaps)]
        claims.append(_true_context(name, size))
    return claims


def _baselines(size: InputSize) -> dict[str, Mapping[int, LanguageRecord]]:
    """Without memory by what is said of it: positions filled, and the block alone if there is."""
    found = {"without memory": size.own}
    if size.own_context and 0 in size.contexts:
        found["without memory and context"] = size.contexts[0]
    return found


def edge_gaps(
    size: InputSize, baseline: Mapping[int, LanguageRecord]
) -> dict[int, tuple[float, float]]:
    """By seed: what a baseline loses against memory of two segments, in nats per token.

    At the first and at the last eighth of the block.
    """
    found = {}
    for seed, record in _with_memory(size).items():
        if seed in baseline:
            pairs = zip(baseline[seed].position_nats, record.position_nats, strict=True)
            gaps = [without - with_memory for without, with_memory in pairs]
            edge = max(len(gaps) // EDGE, 1)
            found[seed] = (sum(gaps[:edge]) / edge, sum(gaps[-edge:]) / edge)
    return found


def answer(sizes: Sequence[InputSize]) -> str:
    """The title: the gap at both ends of the block."""
    said = []
    for size in sizes:
        gaps = list(edge_gaps(size, size.own).values())
        if gaps:
            first, last = (sum(gap[at] for gap in gaps) / len(gaps) for at in (0, 1))
            said.append(
                f"by {format_loss(-first, signed=True)} nats in the first eighth of the block and "
                f"by {format_loss(-last, signed=True)} in the last at {size_name(size, sizes)}"
            )
    if not said:
        return "Loss by position in the block"
    return f"One segment of memory changes the loss {', '.join(said)}"


def answer_costs(sizes: Sequence[InputSize]) -> str:
    """The title of the second picture: where memory is on the frontier, read anew and not."""
    anew, stream = [], []
    for size in sizes:
        found = choices(size)
        read = [one for one in found if one.kind != KINDS[2]]
        if any(one.kind == KINDS[1] and one.size > 1 for one in frontier(read, "flops")):
            anew.append(size_name(size, sizes))
        if any(one.kind == KINDS[2] for one in frontier(found, "flops")):
            stream.append(size_name(size, sizes))
    places = [f"at {' and '.join(names)}" if names else "nowhere" for names in (anew, stream)]
    return f"Reading all anew, memory is worth its FLOPs {places[0]}; in a stream, {places[1]}"


def _with_memory(size: InputSize) -> Mapping[int, LanguageRecord]:
    """Two segments read, or the fewest beyond one."""
    found = memories(size)
    return found[min(found)] if found else {}


def _first_tokens(name: str, baseline: str, gaps: Mapping[int, tuple[float, float]]) -> Claim:
    text = f"{name}: {baseline} the first eighth of the block costs more"
    words = {seed: format_loss(first, signed=True) for seed, (first, _) in gaps.items()}
    return _ordered(text, all(first > 0 for first, _ in gaps.values()), words)


def _closes(name: str, baseline: str, gaps: Mapping[int, tuple[float, float]]) -> Claim:
    text = f"{name}: {baseline} the gap at the last eighth is smaller than at the first"
    words = {
        seed: f"{format_loss(last, signed=True)} against {format_loss(first, signed=True)}"
        for seed, (first, last) in gaps.items()
    }
    return _ordered(text, all(0 <= last < first for first, last in gaps.values()), words)


def _ordered(text: str, holds: bool, words: Mapping[int, str]) -> Claim:
    """Losses by position have no documents to take an interval over: every seed has to agree."""
    if not words:
        return Claim(text, "yes", "not evaluated", "not measurable")
    ours = "; ".join(f"seed {seed}: {said}" for seed, said in words.items())
    return Claim(text, "yes", ours, "pass" if holds else "fail", "order, every seed")


def _true_context(name: str, size: InputSize) -> Claim:
    """Each larger context less memory that read no more text, and no more than was trained."""
    text = f"{name}: true context is lower still than memory of no more text"
    runs, most = size.rmt.get(size.most_trained or 0, {}), size.most_trained or 0
    found, ratios = [], {}
    for context, baselines in size.larger_contexts.items():
        segments = min(1 + context // size.block_tokens, most)
        for seed, record in baselines.items():
            memory = runs.get(seed, {}).get(segments)
            if memory is not None and segments > 1:
                where = f"context {context} less {segments} segments, seed {seed}"
                found += contrast(where, seed, difference(record, memory))
                ratios[context] = record.flops_per_token / memory.flops_per_token
    costs = ", ".join(
        f"{format_ratio(ratio)} at {format_tokens(context)}" for context, ratio in ratios.items()
    )
    aside = f"its FLOPs over memory's: {costs}" if costs else ""
    return lower(text, "yes", found, aside)


def _body(sizes: Sequence[InputSize], said: str, costs: str) -> str:
    tables = "\n\n".join(
        f"### {size_name(size, sizes).capitalize()}\n\n{cost_table(size).markdown()}"
        for size in sizes
    )
    return f"""{fill(f"**{said}.**", 100)}

![Loss by position in the block](figure-8.png)

Thick lines are means over bins of equal width on the log axis, thin ones the positions themselves;
both are means over seeds. "Context" is how many true tokens a model without memory sees before the
block. FLOPs are those of a forward pass (`matmul`), all segments that were read among them, over
the tokens scored.

## Cost and quality

{fill(f"**{costs}.**", 100)}

![Loss against FLOPs and time for each token](cost-quality.png)

Numbers beside the points: tokens of context, segments read. Filled diamonds pay for reading the
whole history again for each block. In a stream the history was read once, when it came, and its
state is at hand: then each block costs one segment, however much the memory holds (hollow). A
model without memory could keep keys and values in a stream, at a state that grows with its
context; that was not measured. Time is that of the evaluation, at its batch size.

{tables}"""
