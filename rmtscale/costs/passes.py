"""The passes of the backbone that one workload consists of.

``full`` is one pass over everything; ``rmt`` is one pass per segment. Every FLOP convention sums
over these, so how an input is cut stands here only.
"""

from __future__ import annotations

from typing import NamedTuple

from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


class Pass(NamedTuple):
    """A number of equal runs of the backbone, one sequence each."""

    size_tokens: int
    """Positions the backbone sees, memory and special tokens included."""
    text_tokens: int
    """Positions that are text: only there a language-model head is applied."""
    runs: int
    """How many such runs the forward phase has."""
    backward_runs: int
    """How many of them a gradient flows back through."""
    last: bool
    """Holds the last run in time, behind which a classification head stands."""


def plan_passes(
    model: ModelSpec, workload: Workload, recurrence: Recurrence | None
) -> tuple[Pass, ...]:
    """The passes of one sequence; ``recurrence`` None is full attention.

    Which segments get a gradient: with a loss on all tokens (language model) every segment,
    whatever the BPTT depth, since each has a loss of its own. With a loss on the last segment
    (classification) the last ``bptt_segments`` of them, and the last one only without memory.
    The first segment is the short one (right-aligned, as in the paper).

    Raises:
        BadInput: a segment that leaves no room for text or exceeds the position table.
    """
    if recurrence is None:
        tokens = workload.tokens
        return (Pass(tokens, tokens, 1, int(workload.train), last=True),)
    overhead = recurrence.overhead(model)
    sizes = recurrence.segment_sizes(model, workload.tokens)
    reached = 0
    if workload.train:
        reached = sum(count for _, count in sizes)
        if model.head == "classification":
            depth = workload.bptt_segments or reached
            reached = min(reached, depth) if recurrence.memory_tokens else 1
    passes: list[Pass] = []
    for size, count in sizes:  # full segments stand first, and are the last in time
        backward_runs = min(count, reached)
        reached -= backward_runs
        passes.append(Pass(size, size - overhead, count, backward_runs, last=not passes))
    return tuple(passes)


def require_in_table(model: ModelSpec, tokens: int) -> None:
    """For commands that run a real module: a full pass must fit the position table.

    Raises:
        BadInput: more tokens than learned positions.
    """
    if model.positions is not None and tokens > model.positions:
        raise BadInput(
            f"tokens {tokens}: expected {model.positions} or less, the position table of "
            f"{model.name}"
        )
