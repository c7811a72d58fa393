"""How an RMT cuts an input into segments, and how many of which size there are."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_TOKENS
from rmtscale.specs.model import ModelSpec
from rmtscale.units import require_positive

ENCODER_SPECIAL_TOKENS = 3
"""[CLS] memory [SEP] text [SEP]: three special tokens a segment (BERT, as in the paper)."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The recurrent part of an RMT.

    Raises:
        BadInput: segment size below 1, or a negative number of memory tokens.
    """

    segment_size: int = 512
    """Everything the backbone sees in one recurrent step: text, memory and special tokens."""
    memory_tokens: int = 10
    """Length m of the recurrent state. 0 is allowed: segments that do not know each other."""

    def __post_init__(self) -> None:
        require_positive("segment size", self.segment_size, MOST_TOKENS)
        if not isinstance(self.memory_tokens, int) or not 0 <= self.memory_tokens <= MOST_TOKENS:
            raise BadInput(f"memory tokens {self.memory_tokens!r}: expected 0 or more")

    def overhead(self, model: ModelSpec) -> int:
        """Tokens of a segment that are not text: 2m (read and write) or m + 3 (encoder)."""
        if model.decoder:
            return 2 * self.memory_tokens
        return self.memory_tokens + ENCODER_SPECIAL_TOKENS

    def segment_tokens(self, model: ModelSpec) -> int:
        """Text tokens of a full segment.

        Raises:
            BadInput: the overhead leaves no room for text, or the segment is longer than the
                model's position table (positions restart in every segment, so it must fit).
        """
        overhead = self.overhead(model)
        if self.segment_size <= overhead:
            raise BadInput(
                f"segment size {self.segment_size}: expected more than {overhead}, which "
                f"{self.memory_tokens} memory tokens of {model.name} take"
            )
        if model.positions is not None and self.segment_size > model.positions:
            raise BadInput(
                f"segment size {self.segment_size}: expected {model.positions} or less, the "
                f"position table of {model.name}"
            )
        return self.segment_size - overhead

    def segment_sizes(self, model: ModelSpec, tokens: int) -> tuple[tuple[int, int], ...]:
        """``(size, count)`` of the segments ``tokens`` text tokens are cut into.

        Sizes include the overhead. All segments are full but for at most one, the shorter one
        (the first when right-aligned, as in the paper; the cost does not depend on which).
        """
        require_positive("tokens", tokens)
        text = self.segment_tokens(model)
        full, rest = divmod(tokens, text)
        sizes = ((self.segment_size, full),) if full else ()
        return (*sizes, (rest + self.segment_size - text, 1)) if rest else sizes

    def segments(self, model: ModelSpec, tokens: int) -> int:
        """Number of recurrent steps."""
        return -(-tokens // self.segment_tokens(model))


def require_sink_tokens(sink_tokens: int, memory_tokens: int) -> None:
    """Raises ``BadInput`` unless ``sink_tokens`` leave a memory token to carry; 0 always does."""
    most = max(memory_tokens - 1, 0)
    whole = isinstance(sink_tokens, int) and not isinstance(sink_tokens, bool)
    if not whole or not 0 <= sink_tokens <= most:
        raise BadInput(
            f"sink tokens {sink_tokens!r} of {memory_tokens} memory tokens: expected "
            + (f"0 to {most}, so that one carries" if most else "0")
        )
