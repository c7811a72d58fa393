"""Memory in a pretrained decoder, against none and against true context. Measured.

Claims, of every way of training and every size of memory: with one segment more the loss is below
that without memory at as many positions, and below that of one segment (Table 1); segments beyond
the second do no harm, nor do more than in training; true context in the place of memory is lower
still. Memory with a sink token is held against the same memory without, and memory that was
trained on repeated text against the same that was not. Of one way of each input
size, those of Figure 12 too: mixed lengths in training against fixed ones. Paired by document,
every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_12.claims import Ways, paper_curves
from rmtscale.study.figures.figure_12.claims import check_claims as check_curriculum
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher
from rmtscale.study.figures.language.groups import (
    InputSize,
    difference,
    input_sizes,
    mean_difference,
    shared_counts,
)
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.pretrained_decoder.recipes import MAIN_MEMORY_TOKENS
from rmtscale.study.records.clusters import Interval
from rmtscale.study.records.language import ALL_WEIGHTS, LORA, LanguageRecord
from rmtscale.units import format_bits_per_byte, format_tokens

NO_PAPER = "GPT-2: -16 % of the loss at input 128"
BEYOND = "not shown of as many"
NO_VARIANT = "no such variant"
_PAPER_SECOND = {
    ALL_WEIGHTS: "GPT-2: perplexity 8.09 to 6.39 at input 128",
    LORA: "with an adapter, Pythia-70m: perplexity 7.30 to 6.97",
}
"""The gain of a second segment in Figure 7 and in Table 1, by the weights that are trained."""

_UNTOLD = "does not measurably change"
"""The verb for a difference whose interval has both signs."""


def ways_of(records: Sequence[LanguageRecord]) -> list[InputSize]:
    """Picks every way of training and size of memory, at each input size, of mixed lengths.

    Raises:
        BadInput: none has memory.
    """
    ways = [way for way in input_sizes(records, mixing=True) if way.rmt]
    if not ways:
        raise BadInput(
            "records of pretrained-decoder: expected models with memory, trained on mixed lengths"
        )
    return ways


def curricula(records: Sequence[LanguageRecord], ways: Sequence[InputSize]) -> list[Ways]:
    """Puts beside each way its like that was trained on fixed lengths, where there is one.

    One that was trained on 1 segment had nothing to mix and is its own like.
    """
    fixed = {_kind(way): way for way in input_sizes(records, mixing=False)}
    pairs = [{"fixed": fixed[_kind(way)], "mixing": way} for way in ways if _kind(way) in fixed]
    return [pair for pair in pairs if set(pair["fixed"].rmt) & set(pair["mixing"].rmt) - {1}]


def _kind(way: InputSize) -> tuple[object, ...]:
    return (
        *(way.backbone, way.block_tokens, way.trained_weights),
        *(way.memory_tokens, way.sink_tokens, way.start_segments),
        *(way.repeat_share, way.repeat_until),
    )


def shown_alone(ways: Sequence[InputSize]) -> list[InputSize]:
    """Picks one way of each input size, for pictures of one model: fixed before any result."""
    chosen: dict[int, InputSize] = {}
    for way in ways:
        main = _kind(way)[2:] == (ALL_WEIGHTS, MAIN_MEMORY_TOKENS, 0, 1, 0.0, 1.0)
        if main or way.segment_size not in chosen:
            chosen[way.segment_size] = way
    return list(chosen.values())


def curriculum_claims(pairs: Sequence[Ways]) -> list[Claim]:
    """Checks the claims of Figure 12 for each input size that was trained both ways."""
    paper, mixed = paper_curves(), [pair["mixing"] for pair in pairs]
    return [
        claim
        for pair in pairs
        for claim in check_curriculum(pair, paper, size_name(pair["mixing"], mixed))
    ]


def check_claims(ways: Sequence[InputSize]) -> list[Claim]:
    """Checks every claim on memory, none and true context against the records."""
    claims = []
    for way in ways:
        name = size_name(way, ways)
        most = way.most_trained or 0
        claims += [
            lower(f"{name}: two segments below no memory", NO_PAPER, _less_none(way, 2)),
            *_second(way, name),
            no_higher(
                f"{name}: {format_tokens(most)} segments, as trained, no worse than two",
                "yes",
                _less(way, most, 2),
            ),
            no_higher(
                f"{name}: reading the most segments, no worse than as trained",
                BEYOND,
                _less(way, max(way.counts), most),
            ),
            lower(f"{name}: true context of as much text is lower still", "yes", _true(way)),
        ]
    for pairs, other in (
        (sink_pairs(ways), "below the same memory without a sink"),
        (repeat_pairs(ways), "below the same memory trained on ordinary text alone"),
    ):
        for way, like in pairs:
            most = like.most_trained or 0
            text = f"{size_name(way, ways)}: {format_tokens(most)} segments, {other}"
            claims.append(lower(text, NO_VARIANT, _less_like(way, like, most)))
    return claims


def _second(way: InputSize, name: str) -> list[Claim]:
    """Checks two segments against one, where one was trained too."""
    if way.start_segments > 1:
        return []
    text = f"{name}: two segments below one"
    return [lower(text, _PAPER_SECOND.get(way.trained_weights, "not shown"), _less(way, 2, 1))]


Pairs = Sequence[tuple[InputSize, InputSize]]
"""Ways of training, each with its like that lacks what is asked about."""


def sink_pairs(ways: Sequence[InputSize]) -> Pairs:
    """Pairs each way that has sink tokens with its like that has none, where there is one."""
    return _pairs(ways, lambda way: replace(way, sink_tokens=0))


def repeat_pairs(ways: Sequence[InputSize]) -> Pairs:
    """Pairs each way that repeats text with its like that does not, where there is one."""
    return _pairs(ways, lambda way: replace(way, repeat_share=0.0, repeat_until=1.0))


def _pairs(ways: Sequence[InputSize], without: Callable[[InputSize], InputSize]) -> Pairs:
    known = {_kind(way): way for way in ways}
    pairs = [(way, known.get(_kind(without(way)))) for way in ways]
    return [(way, like) for way, like in pairs if like is not None and like is not way]


def gains_over(way: InputSize, like: InputSize) -> dict[int, Interval]:
    """Computes memory of one way less that of its like, by segments read: means over seeds."""
    found = {}
    most = like.most_trained or 0
    runs, others = way.rmt.get(most, {}), like.rmt[most]
    for count in shared_counts(runs):
        known = {seed: curve[count] for seed, curve in others.items() if count in curve}
        interval = mean_difference({seed: curve[count] for seed, curve in runs.items()}, known)
        if interval is not None:
            found[count] = interval
    return found


def answer_sinks(pairs: Pairs) -> str:
    """Says what a sink changes as trained, against the same memory without."""
    none = "Memory with a sink token; none was read at as many segments without one"
    return _answer_pairs(pairs, "A sink token", none)


def answer_repeats(pairs: Pairs) -> str:
    """Says what repeated text changes as trained, against the same memory without."""
    none = "Memory trained on repeated text; none was read at as many segments without"
    return _answer_pairs(pairs, "Repeated text in training", none)


def _answer_pairs(pairs: Pairs, subject: str, none: str) -> str:
    likes = [like for _, like in pairs]
    found = {
        size_name(like, likes): at
        for way, like in pairs
        if (at := gains_over(way, like).get(like.most_trained or 0)) is not None
    }
    if not found:
        return none
    said: dict[str, list[str]] = {}
    for name, at in found.items():
        said.setdefault(_verb(at), []).append(f"{_amount(at)} ({name})")
    parts = (
        f"{verb} bits per byte{' by' if verb != _UNTOLD else ':'} {', '.join(each)}"
        for verb, each in said.items()
    )
    return f"{subject} {'; it '.join(parts)}"


def gains(way: InputSize) -> dict[int, Interval]:
    """Computes memory less none at as many positions, by segments read: means over seeds."""
    found = {}
    runs = way.rmt[way.most_trained or 0]
    for count in shared_counts(runs):
        read = {seed: curve[count] for seed, curve in runs.items()}
        interval = mean_difference(read, way.own)
        if interval is not None:
            found[count] = interval
    return found


def context_gains(way: InputSize) -> dict[int, Interval]:
    """Computes true context less none at as many positions, by tokens of context."""
    found = {}
    for context, records in way.larger_contexts.items():
        interval = mean_difference(records, way.own)
        if interval is not None:
            found[context] = interval
    return found


def answer(alone: Sequence[InputSize], ways: Sequence[InputSize] = ()) -> str:
    """Says what memory changes as trained, and what true context would.

    Args:
        alone: one way of each input size.
        ways: all of them; of the others it says how many gain anything.
    """
    parts, before = [], ""
    for way in alone:
        at, true = _as_trained(way), list(context_gains(way).values())
        if at is None:
            continue
        words = _change(at, "bits per byte")
        begin = f"{_verb(at)} bits per byte "
        # What was said of the size before is not said again.
        words = f"{words.removeprefix(before) if before else words} at {size_name(way, alone)}"
        if true:
            lowest = min(true, key=lambda one: one.mean)
            words += f" (true context {_change(lowest, 'them')})"
        parts.append(words)
        before = begin
    if not parts:
        return "A pretrained decoder with memory; none without it to compare with"
    most = {way.most_trained or 0 for way in (*alone, *ways)}
    read = f" at {format_tokens(most.pop())} segments," if len(most) == 1 else ""
    return f"Read{read} as trained, memory {' and '.join(parts)}{_others(alone, ways)}"


def _as_trained(way: InputSize) -> Interval | None:
    """Computes memory less none, read at the most segments of the training."""
    return gains(way).get(way.most_trained or 0)


def _others(alone: Sequence[InputSize], ways: Sequence[InputSize]) -> str:
    """Says how many of the other ways and sizes of memory improve the loss as trained."""
    found = [_as_trained(way) for way in ways if way not in alone]
    known = [at for at in found if at is not None]
    if not known:
        return ""
    better = sum(at.high < 0 for at in known)
    of = f"of the {len(known)} other trainings with memory"
    return f"; {better or 'none'} {of} improve{'s' if better < 2 else ''} them"


def _change(interval: Interval, what: str) -> str:
    """Says which way the loss goes, if its interval tells: ``worsens bits per byte by 0.0176``."""
    if interval.low <= 0 <= interval.high:
        return f"{_verb(interval)} {what} ({_amount(interval)})"
    return f"{_verb(interval)} {what} by {_amount(interval)}"


def _verb(interval: Interval) -> str:
    if interval.low <= 0 <= interval.high:
        return _UNTOLD
    return "worsens" if interval.mean > 0 else "improves"


def _amount(interval: Interval) -> str:
    told = not interval.low <= 0 <= interval.high
    mean = abs(interval.mean) if told else interval.mean
    return format_bits_per_byte(mean, signed=not told)


def _less_none(way: InputSize, count: int) -> list[Contrast]:
    """Compares reading so many segments with no memory, by seed."""
    contrasts = []
    for seed, curve in way.rmt[way.most_trained or 0].items():
        if count in curve and seed in way.own:
            contrasts += contrast(f"seed {seed}", seed, difference(curve[count], way.own[seed]))
    return contrasts


def _less(way: InputSize, count: int, other: int) -> list[Contrast]:
    """Compares two numbers of segments read, by seed."""
    contrasts = []
    for seed, curve in way.rmt[way.most_trained or 0].items():
        if count != other and count in curve and other in curve:
            where = f"seed {seed}, {format_tokens(count)} less {format_tokens(other)}"
            contrasts += contrast(where, seed, difference(curve[count], curve[other]))
    return contrasts


def _less_like(way: InputSize, like: InputSize, count: int) -> list[Contrast]:
    """Compares reading so many segments by one way with its like, by seed."""
    contrasts, most = [], like.most_trained or 0
    others = like.rmt[most]
    for seed, curve in way.rmt.get(most, {}).items():
        other = others.get(seed, {})
        if count in curve and count in other:
            contrasts += contrast(f"seed {seed}", seed, difference(curve[count], other[count]))
    return contrasts


def _true(way: InputSize) -> list[Contrast]:
    """Compares each larger context with memory that read no less text, as far as trained."""
    contrasts = []
    runs = way.rmt[way.most_trained or 0]
    for context, records in way.larger_contexts.items():
        for seed, record in records.items():
            memory = _reading(runs.get(seed, {}), context, way.most_trained or 0)
            if memory is not None:
                read = format_tokens(memory.point.segments)
                where = f"context {format_tokens(context)} less {read} segments, seed {seed}"
                contrasts += contrast(where, seed, difference(record, memory))
    return contrasts


def _reading(curve: Mapping[int, LanguageRecord], context: int, most: int) -> LanguageRecord | None:
    """Picks the fewest segments that hold so much text before the block, or the most trained."""
    known = [record for count, record in curve.items() if 1 < count <= most]
    held = [one for one in known if one.point.tokens - one.point.block_tokens >= context]
    return held[0] if held else known[-1] if known else None
