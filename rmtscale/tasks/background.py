"""Where the noise comes from: this Python's own documentation, files, or a data set."""

from __future__ import annotations


def load_background(source: str = "python", split: str = "train") -> list[str]:
    """Documents of unrelated text."""
    raise NotImplementedError(source, split)
