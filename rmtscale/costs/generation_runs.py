"""Passes that reading a prompt and writing behind it take.

Full attention keeps keys and values of everything it has seen, and reads them with every token. An
RMT reads its prompt segment by segment and keeps the memory; the last segment stays open, with a
cache of its own, and when it is full its memory is read at its end (a pass of m positions) and the
next one opens. Both as the modules run it: Hugging Face's ``generate`` with a cache, and
``rmtscale.rmt.generation``. N new tokens are one prefill, which gives the first, and N - 1 steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_NEW_TOKENS, MOST_TOKENS
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import DTYPE_BYTES, plain_dtype
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import (
    require_one_of,
    require_positive,
)

if TYPE_CHECKING:
    pass


KV_DTYPE_BYTES = {**DTYPE_BYTES, "fp8": 1, "int8": 1}
"""Bytes of a number in a key-value cache; the scales of the 8-bit ones are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How much is read and written, and how.

    Raises:
        BadInput: a number below 1, or an unknown dtype.
    """

    context_tokens: int
    new_tokens: int
    batch_size: int = 1
    dtype: str = "bf16"
    kv_dtype: str | None = None
    """Dtype of keys and values; None is that of everything else."""
    prefill_chunk: int | None = None
    """Full attention reads the prompt in pieces of so many tokens; None is in one pass."""

    def __post_init__(self) -> None:
        require_positive("context", self.context_tokens, MOST_TOKENS)
        require_positive("new tokens", self.new_tokens, MOST_NEW_TOKENS)
        require_positive("batch size", self.batch_size, MOST_TOKENS)
        object.__setattr__(self, "dtype", plain_dtype(self.dtype))
        require_one_of("kv dtype", self.kv_dtype or self.dtype, KV_DTYPE_BYTES)
        if self.prefill_chunk is not None:
            require_positive("prefill chunk", self.prefill_chunk)
            if self.context_tokens > MOST_NEW_TOKENS * self.prefill_chunk:
                raise BadInput(
                    f"prefill chunk {self.prefill_chunk}: expected no more than "
                    f"{MOST_NEW_TOKENS:,} pieces of a context of {self.context_tokens}"
                )

    @property
    def dtype_bytes(self) -> int:
        return DTYPE_BYTES[self.dtype]

    @property
    def kv_bytes(self) -> int:
        return KV_DTYPE_BYTES[self.kv_dtype or self.dtype]


class Run(NamedTuple):
    """Equal passes of the backbone."""

    rows: int
    """Positions that are computed."""
    keys: int
    """Positions they attend to: what is in the cache, and themselves."""
    logits: int
    """Positions the head is applied to."""
    times: int = 1
    cached: bool = True
    """Keys and values are kept; those of a segment that is read whole are not."""


def generation_runs(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None
) -> tuple[Iterable[Run], Iterable[Run]]:
    """Returns the passes of prefill and of decode, equal ones of an RMT together."""
    if recurrence is None:
        return _full_runs(generation)
    return _rmt_runs(model, generation, recurrence)


def _full_runs(generation: Generation) -> tuple[Iterable[Run], Iterable[Run]]:
    context = generation.context_tokens
    piece = min(generation.prefill_chunk or context, context)
    ends = [*range(piece, context, piece), context]
    prefill = [Run(end - start, end, 1) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    seen = range(context + 1, context + generation.new_tokens)
    return prefill, (Run(1, keys, 1) for keys in seen)


def _rmt_runs(
    model: ModelSpec, generation: Generation, recurrence: Recurrence
) -> tuple[Iterable[Run], Iterable[Run]]:
    text, memory = recurrence.segment_tokens(model), recurrence.memory_tokens
    # The last segment stays open even when it is full: its last token predicts the next one.
    closed = (generation.context_tokens - 1) // text
    opened = generation.context_tokens - closed * text
    size = recurrence.segment_size
    prefill = [Run(size, size, 0, closed, cached=False)] if closed else []
    prefill.append(Run(memory + opened, memory + opened, 1))

    def decode() -> Iterator[Run]:
        first, steps = divmod(opened + generation.new_tokens - 1, text)
        # Segment by segment every place is filled once; the first and the last one partly.
        # Those that no pass fills are left out, however many there are.
        begun = steps if first else 0
        behind = range(max(opened, begun) + 1, (text if first else steps) + 1)
        for place in range(1, text + 1) if first > 1 else chain(range(1, begun + 1), behind):
            filled = first + (place <= steps) - (place <= opened)
            if filled:
                # A segment's first token comes with the memory before it.
                rows = 1 + memory * (place == 1)
                yield Run(rows, memory + place, 1, filled)
        rolled = (opened + generation.new_tokens - 2) // text
        if rolled and memory:
            yield Run(memory, size, 0, rolled)

    return prefill, decode()
