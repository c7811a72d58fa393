"""Figure 8 of the paper: loss by position in the block, and quality against cost. Measured.

Claims: without memory the first tokens of a block cost more than with it, and the gap closes
towards its end; true context before the block is lower still. The paper's model without memory
sees the block alone; ours does too, and another that fills the positions memory takes. A second
picture sets the loss against FLOPs and measured time, baselines by context, memory by segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_8.cost_quality import KINDS, choices, frontier
from rmtscale.study.figures.figure_8.drawing import memories
from rmtscale.study.figures.language.claims import contrast, lower
from rmtscale.study.figures.language.groups import InputSize, difference, input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_bits_per_byte, format_ratio, format_tokens

EDGE = 8
"""Part of the block at each end, as one over it: the first and the last eighth."""


def check_claims(records: Sequence[LanguageRecord]) -> list[Claim]:
    """Checks every claim against the records."""
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
    """Names the models without memory: positions filled, and the block alone if there is one."""
    baselines = {"without memory": size.own}
    if size.own_context and 0 in size.contexts:
        baselines["without memory and context"] = size.contexts[0]
    return baselines


def edge_gaps(
    size: InputSize, baseline: Mapping[int, LanguageRecord]
) -> dict[int, tuple[float, float]]:
    """Computes what a baseline loses against memory of two segments, in bits per byte.

    By seed, at the first and at the last eighth of the block.
    """
    by_seed = {}
    for seed, record in _with_memory(size).items():
        if seed in baseline:
            pairs = zip(
                *(one.position_bits_per_byte for one in (baseline[seed], record)), strict=True
            )
            gaps = [without - with_memory for without, with_memory in pairs]
            edge = max(len(gaps) // EDGE, 1)
            by_seed[seed] = (sum(gaps[:edge]) / edge, sum(gaps[-edge:]) / edge)
    return by_seed


def answer(sizes: Sequence[InputSize]) -> str:
    """Says how large the gap is at both ends of the block."""
    changes = []
    for size in sizes:
        gaps = list(edge_gaps(size, size.own).values())
        if gaps:
            first, last = (sum(gap[at] for gap in gaps) / len(gaps) for at in (0, 1))
            changes.append(
                f"by {_signed(-first)} bits per byte in the first eighth of the block and "
                f"by {_signed(-last)} in the last at {size_name(size, sizes)}"
            )
    if not changes:
        return "Loss by position in the block"
    return f"One segment of memory changes the loss {', '.join(changes)}"


def answer_costs(sizes: Sequence[InputSize]) -> str:
    """Says where memory is on the frontier of cost and loss, read anew and in a stream."""
    anew, stream = [], []
    for size in sizes:
        ways = choices(size)
        read = [way for way in ways if way.kind != KINDS[2]]
        if any(way.kind == KINDS[1] and way.size > 1 for way in frontier(read, "flops")):
            anew.append(size_name(size, sizes))
        if any(way.kind == KINDS[2] for way in frontier(ways, "flops")):
            stream.append(size_name(size, sizes))
    if not anew and not stream:
        return "Memory is not worth its FLOPs, neither with all text read anew nor in a stream"
    places = [f"at {' and '.join(names)}" if names else "nowhere" for names in (anew, stream)]
    return (
        f"With all text read anew, memory is worth its FLOPs {places[0]}; in a stream, {places[1]}"
    )


def _signed(bits: float) -> str:
    return format_bits_per_byte(bits, signed=True)


def _with_memory(size: InputSize) -> Mapping[int, LanguageRecord]:
    """Picks two segments read, or the fewest beyond one."""
    by_count = memories(size)
    return by_count[min(by_count)] if by_count else {}


def _first_tokens(name: str, baseline: str, gaps: Mapping[int, tuple[float, float]]) -> Claim:
    text = f"{name}: {baseline} the first eighth of the block costs more"
    words = {seed: _signed(first) for seed, (first, _) in gaps.items()}
    return _ordered(text, all(first > 0 for first, _ in gaps.values()), words)


def _closes(name: str, baseline: str, gaps: Mapping[int, tuple[float, float]]) -> Claim:
    text = f"{name}: {baseline} the gap at the last eighth is smaller than at the first"
    words = {
        seed: f"{_signed(last)} against {_signed(first)}" for seed, (first, last) in gaps.items()
    }
    return _ordered(text, all(0 <= last < first for first, last in gaps.values()), words)


def _ordered(text: str, holds: bool, words: Mapping[int, str]) -> Claim:
    """Claims an order of every seed: losses by position have no documents for an interval."""
    if not words:
        return Claim(text, "yes", "not evaluated", "not measurable")
    ours = "; ".join(f"seed {seed}: {gap}" for seed, gap in words.items())
    return Claim(text, "yes", ours, "pass" if holds else "fail", "order, every seed")


def _true_context(name: str, size: InputSize) -> Claim:
    """Compares each larger context with memory that read no more text, nor more than trained."""
    text = f"{name}: true context is lower still than memory of no more text"
    runs, most = size.rmt.get(size.most_trained or 0, {}), size.most_trained or 0
    contrasts, ratios = [], {}
    for context, baselines in size.larger_contexts.items():
        segments = min(1 + context // size.block_tokens, most)
        for seed, record in baselines.items():
            memory = runs.get(seed, {}).get(segments)
            if memory is not None and segments > 1:
                where = f"context {context} less {segments} segments, seed {seed}"
                contrasts += contrast(where, seed, difference(record, memory))
                ratios[context] = record.flops_per_token / memory.flops_per_token
    costs = ", ".join(
        f"{format_ratio(ratio)} at {format_tokens(context)}" for context, ratio in ratios.items()
    )
    aside = f"its FLOPs over memory's: {costs}" if costs else ""
    return lower(text, "yes", contrasts, aside)
