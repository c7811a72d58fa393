"""Detect & Memorize: the fact of Memorize somewhere in the noise, to be noticed first.

Uniformly at any sentence boundary; with ``placement="segment-start"`` where the code of
Bulatov et al. 2024 puts it. As in Memorize, the two splits differ in noise, not in facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rmtscale.study.tasks.memorize import Memorize


@dataclass(frozen=True, kw_only=True)
class DetectMemorize(Memorize):
    """Asks where a person is, which is said at an unknown place."""

    name: ClassVar[str] = "detect-memorize"

    placement: str = "free"
    """Anywhere."""
