"""Options of ``rmtscale dead-band`` that both ways to choose have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options that both ways have."""

    checkpoint: Path
    background: str | None
    """Noise; None is that of the training, where it is here."""
    seed: int
    backbone: str | None
    device: str | None
    out: Path | None
    """File of records; None is the default of the way."""
    anew: bool
    """Whether the records in the file are dropped."""
    output_format: str
