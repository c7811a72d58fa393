"""What a record calls the weights and the text that were read: the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(folder: Path) -> str:
    """The first 16 digits of the SHA-256 of a checkpoint's weights."""
    files = sorted(folder.glob("*.safetensors"))
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def source_name(source: str) -> str:
    """A source without the folder it lies in, which is of no use on another machine."""
    return source if source.startswith("hf:") else Path(source).name
