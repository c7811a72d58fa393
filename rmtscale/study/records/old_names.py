"""Names that fields had in files of earlier releases, and what they are called today.

Settings, metrics, checkpoints, training states and evaluations are read through ``renamed``: what
was written once stays as it is on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELDS = {
    "roll_in": "burn_in",
    "roll_in_max_steps": "burn_in_max_steps",
    "roll_in_share": "burn_in_share",
    "decoys": "fact_fragments",
    "newest_accuracy": "current_stage_accuracy",
    "newest_share": "current_stage_share",
    "averaged": "ema",
    "facts": "train_state",
    "device_busy_share": "gpu_utilization",
}
"""Today's name by the old one."""


def renamed(value: Any) -> Any:
    """Gives the fields of a parsed JSON value, at any depth, the names of today.

    Values are left alone: a stage that was called ``7 segments, roll-in 256`` keeps its name, so
    that records come out of a reader as they went in.
    """
    if isinstance(value, list):
        return [renamed(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {FIELDS.get(name, name): renamed(item) for name, item in value.items()}
