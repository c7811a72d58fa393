"""Names of ways to train memory: whole, and short beside others that differ in little."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.language.groups import InputSize
from rmtscale.units import (
    format_memory_tokens,
    format_percent,
    format_repeats,
    format_start_segments,
    format_tokens,
)


def way_name(way: InputSize) -> str:
    """Writes ``10 memory tokens (1 sink), LoRA, from 2 segments, 50 % repeated``."""
    memory = format_memory_tokens(way.memory_tokens, way.sink_tokens)
    start = format_start_segments(way.start_segments)
    repeats = format_repeats(way.repeat_share, way.repeat_until)
    return f"{memory}, {way.trained_weights}{start}{repeats}"


def kinds(ways: Sequence[InputSize]) -> dict[str, list[InputSize]]:
    """Groups ways by the weights that are trained and, where it differs, by the size of memory."""
    several = len({way.memory_tokens for way in ways}) > 1
    found: dict[str, list[InputSize]] = {}
    for way in ways:
        memory = f", {format_memory_tokens(way.memory_tokens)}" if several else ""
        found.setdefault(f"{way.trained_weights}{memory}", []).append(way)
    return found


def short_names(ways: Sequence[InputSize]) -> list[str]:
    """Names ways by what each has, such as ``sink, from 2, repeats``; by numbers what differs.

    One that has nothing of its own is ``memory``.
    """
    sizes = {way.memory_tokens for way in ways}
    sinks = {way.sink_tokens for way in ways if way.sink_tokens}
    repeats = {(way.repeat_share, way.repeat_until) for way in ways if way.repeat_share}
    names = []
    for way in ways:
        words = []
        if len(sizes) > 1:
            words.append(format_memory_tokens(way.memory_tokens))
        if way.sink_tokens:
            words.append(f"{way.sink_tokens} sink" if len(sinks) > 1 else "sink")
        if way.start_segments > 1:
            words.append(f"from {format_tokens(way.start_segments)}")
        if way.repeat_share:
            share = format_repeats(way.repeat_share, way.repeat_until).removeprefix(", ")
            words.append(share if len(repeats) > 1 else "repeats")
        names.append(", ".join(words) or "memory")
    return names


def names_beside(ways: Sequence[InputSize]) -> list[str]:
    """Names ways by the weights that are trained, and by input size where it differs."""
    sizes = {way.segment_size for way in ways}
    names = []
    for way, short in zip(ways, short_names(ways), strict=True):
        size = [f"input {way.segment_size}"] if len(sizes) > 1 else []
        names.append(", ".join([*size, way.trained_weights, *([short] * (short != "memory"))]))
    return names


def what_names_say(ways: Sequence[InputSize]) -> str:
    """Says what the short names stand for, of those that some way has."""
    sinks = sorted({way.sink_tokens for way in ways if way.sink_tokens})
    starts = sorted({way.start_segments for way in ways if way.start_segments > 1})
    repeats = sorted({(way.repeat_share, way.repeat_until) for way in ways if way.repeat_share})
    said = []
    if sinks:
        many = " or ".join(map(format_tokens, sinks))
        said.append(f"*sink*: {many} of the memory tokens keeps its trained initial value")
    for start in map(format_tokens, starts):
        said.append(f"*from {start}*: training began with {start} segments, not with one")
    for share, until in repeats:
        end = f" until {format_percent(until)} of the steps" if until < 1 else ""
        many = format_percent(share)
        said.append(f"*repeats*: {many} of the batches repeat the segment before{end}")
    return "; ".join(said)
