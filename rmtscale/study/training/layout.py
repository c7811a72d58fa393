"""Names of what a training's folder holds."""

from __future__ import annotations

SETTINGS = "settings.json"
STATE = "state.safetensors"
"""Train state, with which a training goes on."""
METRICS = "metrics.jsonl"
BEST = "best"
"""The checkpoint that did best on validation text, of the latest stage validated."""
LAST = "last"
"""The checkpoint at the end of all steps; its folder is there when a training is done."""
STAGES = "stages"
"""Checkpoints at the ends of the stages of whole segments: ``stages/segments-3``."""
CACHE = "text"
"""Packed text of a language task, where no folder is given that trainings share."""
