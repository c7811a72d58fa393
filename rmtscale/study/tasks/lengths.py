"""Lengths of inputs as BABILong names them: ``0k``, ``1k``, ... ``10M`` tokens of the GPT-2 kind.

No such tokenizer is needed: the benchmark's samples of 128k hold 88,592 words, so that a token is
0.692 words, and a length is so many words of the noise at hand, in whatever tokens a model reads.
``0k`` is the story alone.
"""

from __future__ import annotations

from rmtscale.errors import BadInput

LENGTHS = {
    "0k": 0,
    "1k": 1_000,
    "2k": 2_000,
    "4k": 4_000,
    "8k": 8_000,
    "16k": 16_000,
    "32k": 32_000,
    "64k": 64_000,
    "128k": 128_000,
    "512k": 512_000,
    "1M": 1_000_000,
    "10M": 10_000_000,
}
"""Tokens of the GPT-2 kind by name."""
WORDS_OF_128K = 88_592
MANY_SAMPLES, FEW_SAMPLES = 1000, 100
"""Samples of the benchmark up to 32k, and beyond."""


def parse_lengths(text: str) -> tuple[str, ...]:
    """Parses ``128k,1M,10M``; shortest first.

    Raises:
        BadInput: a length that the benchmark does not have.
    """
    names = {name.strip() for name in text.split(",")}
    if not names <= set(LENGTHS):
        raise BadInput(f"lengths {text!r}: expected a list of {', '.join(LENGTHS)}")
    return tuple(name for name in LENGTHS if name in names)


def words_of(name: str) -> int:
    """Returns how many words an input of a length holds."""
    return round(LENGTHS[name] * WORDS_OF_128K / LENGTHS["128k"])


def samples_of(name: str) -> int:
    """Returns how many samples the benchmark has at a length."""
    return MANY_SAMPLES if LENGTHS[name] <= LENGTHS["32k"] else FEW_SAMPLES
