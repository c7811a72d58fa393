"""Peaks of memory that can be compared: of the same weights, read in the same way.

Stories alone are read in batches of their own lengths, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.babilong.runs import Run
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.tasks.lengths import LENGTHS

_PLACES = {length: place for place, length in enumerate(LENGTHS)}
_STORIES_ALONE = "0k"


def comparable(run: Run) -> list[list[BabilongRecord]]:
    """Groups what one model has read, by what else its peak of GPU memory depends on.

    That is the samples read side by side, the precision, whether the step was compiled, the GPU and
    torch. Of these, lengths of one command are compared whatever they began with, so that memory
    that is never given back is seen; and lengths of several commands where as much was held before.

    Returns:
        Groups of two lengths or more, shortest first.
    """
    own = [
        record
        for record in sorted(run.records, key=lambda one: one.evaluated_at)
        if record.point.length != _STORIES_ALONE and record.memory.peak_allocated_bytes is not None
    ]
    groups: dict[tuple[object, ...], list[BabilongRecord]] = {}
    for command, record in zip(_commands(own), own, strict=True):
        held = record.memory.baseline_allocated_bytes
        held_mebibytes = None if held is None else round(held / 2**20)
        for key in (("command", command), ("held", held_mebibytes)):
            groups.setdefault((*key, *_conditions(record)), []).append(record)
    found = [sorted(some, key=lambda one: _PLACES[one.point.length]) for some in groups.values()]
    return [some for some in found if len({one.point.length for one in some}) > 1]


def _commands(records: Sequence[BabilongRecord]) -> list[object]:
    """Names the command of each record: by its begin, or where that was not noted by a number.

    A command reads the shortest length first, so another one begins where lengths do not rise.
    """
    names, number, before = list[object](), 0, -1
    for record in records:
        place = _PLACES[record.point.length]
        number += place <= before
        before = place
        names.append(record.evaluation_began_at or number)
    return names


def _conditions(record: BabilongRecord) -> tuple[object, ...]:
    environment = record.environment
    return (
        *(record.batch_size, record.point.precision, record.point.device),
        *(record.point.compile_step, environment.gpu, environment.packages.get("torch")),
    )
