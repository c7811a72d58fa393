"""The largest sizes that are taken: beyond them a number is a slip, and would fill the memory.

One table for options, configs, sweeps, records and files; each is far above whatever was published.
"""

from __future__ import annotations

MOST_TOKENS = 10**15
"""Largest input, segment or batch; all text of the web has 10**14 tokens."""
MOST_COUNT = 10**18
"""Largest number of bytes, FLOP/s and whatever else is counted."""
MOST_NUMBER = 10**36
"""Largest number in a file: more than the FLOPs of any input."""
MOST_NEW_TOKENS = 2**18
"""Largest number of tokens that are written, one after another; they are counted so too."""
MOST_SEGMENTS = 10**6
"""Longest input of a training or an evaluation, 244 times the paper's 4096 segments."""
MOST_SAMPLES = 10**7
"""Most samples of an evaluation."""
MOST_GPUS = 2**20
"""Most GPUs of a cluster, 64 times those of Llama 3 (Grattafiori et al. 2024)."""
MOST_LAYERS = 10_000
MOST_EXPERTS = 100_000
MOST_WIDTH = 2**31 - 1
"""Largest of any other size in a config: widths, heads, vocabulary, positions."""
MOST_TOKEN_ID = 2**24
"""Largest id of a tokenizer that is loaded; the largest released ones have 2**18 tokens."""
MOST_ROWS = 2**26
"""Largest size in the config of a checkpoint: Transformers' Qwen4-exp has tables of n-grams with
2 * 10**7 rows."""
MOST_RANK = 2**14
"""Largest rank of LoRA, and width of an adapter."""
MOST_POINTS = 10_000
"""Most points of a sweep: a week at a minute each."""
MOST_DIGITS = 40
"""Most digits of an integer in a file."""
MOST_DEPTH = 64
"""Most brackets within brackets in a file; a config has 6."""
MOST_CONFIG_BYTES = 16 * 2**20
"""Largest config, sweep, settings or calibration."""
MOST_TOKENIZER_BYTES = 256 * 2**20
MOST_RECORDS_BYTES = 1 * 2**30
"""Largest file of records, of which a line is 4 kB."""
MOST_LINE_BYTES = 2**26
"""Longest line of a file of text: a document."""
MOST_TEXT_FILES = 100_000
"""Most files below a folder of text."""
MOST_TEXT_BYTES = 64 * 2**30
"""Largest file of text to train on, unpacked."""


def most_of(field: str, otherwise: int = MOST_WIDTH) -> int:
    """Returns the largest value of a size in a config, by what its name says it counts."""
    if field.endswith(("layers", "n_layer")):
        return MOST_LAYERS
    return MOST_EXPERTS if field.endswith("experts") else otherwise
