"""Evaluations of language models by what they compare: input size, context, training, seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.study.records.clusters import Interval, Part, paired_difference
from rmtscale.study.records.language import (
    ALL,
    ALL_WEIGHTS,
    MEMORY,
    TRAINED_WEIGHTS,
    UNTOUCHED,
    LanguageRecord,
)

Curve = Mapping[int, LanguageRecord]
"""Records by number of segments read."""
Runs = Mapping[int, Curve]
"""Curves by seed."""
Value = Callable[[LanguageRecord], float]
BASELINES = {MEMORY: UNTOUCHED}
"""Without memory, nothing is trained where memory alone is; all else has its like."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """All models of one backbone that were scored on the very same targets, trained in one way."""

    backbone: str
    block_tokens: int
    rmt: Mapping[int, Runs]
    """With memory, by segments trained on."""
    contexts: Mapping[int, Mapping[int, LanguageRecord]]
    """Without memory, by tokens of true context before the block; then by seed."""
    memory_tokens: int = 0
    """Memory tokens of the models that have any; 0 where none has."""
    trained_weights: str = ALL_WEIGHTS
    """Weights that training changed, of those with memory and of the others; but where memory alone
    is trained, the others are as they were."""
    sink_tokens: int = 0
    """Memory tokens that keep their initial value, in the first places."""
    start_segments: int = 1
    """Segments that the training of those with memory began with."""
    repeat_share: float = 0.0
    """Share of the training batches of those with memory that repeat what was read."""
    repeat_until: float = 1.0
    """Share of the steps until which so many repeat."""

    @property
    def segment_size(self) -> int:
        """The segment size of models with memory; without any, that of the smallest baseline."""
        for record in self.with_memory:
            return record.model.segment_size
        return self.block_tokens + min(self.contexts, default=0)

    @property
    def own_context(self) -> int | None:
        """Context of the baseline that has no more positions than a segment; None without one."""
        room = self.segment_size - self.block_tokens
        return max((context for context in self.contexts if context <= room), default=None)

    @property
    def own(self) -> Mapping[int, LanguageRecord]:
        """The memoryless baseline of the same input size, by seed."""
        return {} if self.own_context is None else self.contexts[self.own_context]

    @property
    def larger_contexts(self) -> dict[int, Mapping[int, LanguageRecord]]:
        """Baselines that see more than the block's own segment."""
        own = -1 if self.own_context is None else self.own_context
        return {context: records for context, records in self.contexts.items() if context > own}

    @property
    def most_trained(self) -> int | None:
        """Segments of the longest training; None without memory."""
        return max(self.rmt, default=None)

    @property
    def counts(self) -> list[int]:
        """All numbers of segments that were read with memory."""
        return sorted({record.point.segments for record in self.with_memory})

    @property
    def with_memory(self) -> list[LanguageRecord]:
        """Every record of a model with memory."""
        curves = [curve for runs in self.rmt.values() for curve in runs.values()]
        return [record for curve in curves for record in curve.values()]

    @property
    def records(self) -> list[LanguageRecord]:
        """Every record."""
        return self.with_memory + [
            record for by_seed in self.contexts.values() for record in by_seed.values()
        ]


def input_sizes(
    records: Iterable[LanguageRecord], *, mixing: bool | None = None
) -> list[InputSize]:
    """Groups records of language modelling by input size, smallest block first.

    Other numbers of memory or sink tokens, other weights that were trained, trainings that began
    with other numbers of segments and those that repeat another share of their text are groups of
    their own, with the models without memory of the same kind in each.

    Args:
        records: of one task.
        mixing: keep only models with memory that were trained so. One that was trained on 1
            segment had nothing to mix and is kept either way, unless its like of the right kind
            is there. None keeps all.

    Raises:
        BadInput: two models that nothing tells apart, or curves on different targets.
    """
    groups: dict[tuple[int, str], list[LanguageRecord]] = {}
    for record in records:
        groups.setdefault((record.point.block_tokens, record.model.backbone), []).append(record)
    sizes = []
    for (block, backbone), group in sorted(groups.items()):
        require_same_targets(group)
        for way in _ways(group):
            changed, memory_tokens, sink_tokens, start_segments, *repeats = way
            alike = BASELINES.get(changed, changed)
            contexts: dict[int, dict[int, LanguageRecord]] = {}
            for record in group:
                if not record.model.memory_tokens and record.model.changed == alike:
                    context = record.model.segment_size - block
                    _put(contexts.setdefault(context, {}), record.model.seed, record)
            own = [record for record in group if memory_tokens and _way(record) == way]
            sizes.append(
                InputSize(
                    backbone,
                    block,
                    _by_training(own, mixing),
                    {context: _ordered(contexts[context]) for context in sorted(contexts)},
                    memory_tokens,
                    changed,
                    sink_tokens,
                    start_segments,
                    *repeats,
                )
            )
    return sizes


def by_backbone(records: Iterable[LanguageRecord]) -> dict[str, list[LanguageRecord]]:
    """Groups records by the name of their backbone: another tokenizer makes other targets."""
    groups: dict[str, list[LanguageRecord]] = {}
    for record in records:
        groups.setdefault(record.model.backbone, []).append(record)
    return dict(sorted(groups.items()))


_Way = tuple[str, int, int, int, float, float]


def _way(record: LanguageRecord) -> _Way:
    model = record.model
    if not model.memory_tokens:  # one segment is all there is
        return model.changed, 0, 0, 1, 0.0, 1.0
    start_segments = model.trained_start_segments or 1
    repeats = model.trained_repeat_share, model.trained_repeat_until
    return model.changed, model.memory_tokens, model.sink_tokens, start_segments, *repeats


def _ways(group: Sequence[LanguageRecord]) -> list[_Way]:
    """Lists what was trained, memory and sink tokens, the segments that it began with and what
    repeats, in a fixed order; without any memory, 0."""
    found = {_way(record) for record in group if record.model.memory_tokens}
    found = found or {_way(record) for record in group}
    order = {name: index for index, name in enumerate(TRAINED_WEIGHTS)}
    return sorted(found, key=lambda way: (order.get(way[0], len(order)), *way))


def runs_of(records: Iterable[LanguageRecord]) -> Runs:
    """Groups the records of one model by seed and segments read, both in order.

    Raises:
        BadInput: two of them are of the same seed and length.
    """
    runs: dict[int, dict[int, LanguageRecord]] = {}
    for record in records:
        _put(runs.setdefault(record.model.seed, {}), record.point.segments, record)
    return {seed: _ordered(runs[seed]) for seed in sorted(runs)}


def require_same_targets(records: Sequence[LanguageRecord]) -> None:
    """Checks that curves were scored on the same tokens, so that they may share a picture.

    Raises:
        BadInput: they were not; the first field that differs is named.
    """
    for name in ("task", "text", "split", "history_tokens", "samples", "seed"):
        values = sorted({getattr(record.point, name) for record in records})
        if len(values) > 1:
            both = " and ".join(map(str, values))
            raise BadInput(
                f"{name.replace('_', ' ')} {both} in records of blocks of "
                f"{records[0].point.block_tokens} tokens: expected the same targets for all"
            )
    if len({record.whole.tokens for record in records}) > 1:
        raise BadInput(
            f"documents of other lengths in records of {records[0].point.text!r}: expected the "
            "same targets for all"
        )


def shared_counts(runs: Runs) -> list[int]:
    """Lists the numbers of segments that every seed read."""
    curves = list(runs.values())
    if not curves:
        return []
    return [count for count in curves[0] if all(count in curve for curve in curves)]


def mean_curve(runs: Runs, value: Value) -> dict[int, float]:
    """Averages over seeds at every length that all of them read."""
    return {
        count: mean_over_seeds({seed: curve[count] for seed, curve in runs.items()}, value)
        for count in shared_counts(runs)
    }


def mean_over_seeds(records: Mapping[int, LanguageRecord], value: Value) -> float:
    """Averages over seeds; NaN where there are none."""
    return sum(map(value, records.values())) / len(records) if records else math.nan


def mean_part(parts: Sequence[Part]) -> Part:
    """Averages the losses of several models on the same tokens.

    Raises:
        ValueError: not the same tokens.
    """
    if len({part.tokens for part in parts}) != 1:
        raise ValueError("readings of different tokens: expected the same tokens by cluster")
    losses = zip(*(part.loss_nats for part in parts), strict=True)
    return Part(
        tokens=parts[0].tokens,
        text_bytes=parts[0].text_bytes,
        loss_nats=tuple(sum(loss) / len(parts) for loss in losses),
    )


def difference(
    first: LanguageRecord, second: LanguageRecord, part: str = ALL, other: str | None = None
) -> Interval | None:
    """Computes ``first - second``, bits per byte; None where they scored other tokens.

    Args:
        first, second: what is compared.
        part: of both.
        other: of ``second``, where it is another.
    """
    minuend, subtrahend = first.parts.get(part), second.parts.get(other or part)
    if minuend is None or subtrahend is None or minuend.tokens != subtrahend.tokens:
        return None
    return paired_difference(minuend, subtrahend) if minuend.total_tokens else None


def mean_difference(
    first: Mapping[int, LanguageRecord], second: Mapping[int, LanguageRecord]
) -> Interval | None:
    """Computes the difference of the means over the seeds that both have; None without any."""
    seeds = [seed for seed in first if seed in second]
    minuend = [first[seed].whole for seed in seeds]
    subtrahend = [second[seed].whole for seed in seeds]
    if not seeds or len({part.tokens for part in (*minuend, *subtrahend)}) != 1:
        return None
    return paired_difference(mean_part(minuend), mean_part(subtrahend))


def _by_training(records: Sequence[LanguageRecord], mixing: bool | None) -> dict[int, Runs]:
    groups: dict[int, list[LanguageRecord]] = {}
    for record in records:
        groups.setdefault(record.model.trained_segments, []).append(record)
    by_training = {}
    for trained in sorted(groups):
        group = groups[trained]
        if mixing is not None:
            alike = [record for record in group if record.model.trained_mixing is mixing]
            group = alike or (group if trained == 1 else [])
        if group:
            by_training[trained] = runs_of(group)
    return by_training


def _put(place: dict[int, LanguageRecord], key: int, record: LanguageRecord) -> None:
    before = place.get(key)
    if before is not None and before.point.weights != record.point.weights:
        raise BadInput(
            f"models {before.model.name!r} and {record.model.name!r}: trained alike with seed "
            f"{record.model.seed}, expected one of them"
        )
    place[key] = record


def _ordered(records: Mapping[int, LanguageRecord]) -> dict[int, LanguageRecord]:
    return dict(sorted(records.items()))
