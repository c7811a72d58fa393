"""Names of what a training's folder holds, and how a training is removed from it."""

from __future__ import annotations

from pathlib import Path

from rmtscale.files import remove_folder, remove_leavings

SETTINGS = "settings.json"
STATE = "state.safetensors"
"""Train state, with which a training goes on."""
CUT_STATE = "state"
"""Folder of the train state of weights that are cut, in place of that file."""
METRICS = "metrics.jsonl"
BEST = "best"
"""The checkpoint that did best on validation text, of the latest stage validated."""
LAST = "last"
"""The checkpoint at the end of all steps, written after everything else: a training is done when
its folder is there."""
STAGES = "stages"
"""Checkpoints at the ends of the stages of whole segments: ``stages/segments-3``."""
TASK_FILE = "task.json"
"""File of a checkpoint that says what it was trained on, and how far."""
TRAINED_PART = "trained.safetensors"
"""File of what was trained beside a frozen backbone; its name is not that of a whole model, which
it is not."""
CACHE = "text"
"""Packed text of a language task, where no folder is given that trainings share."""


def remove_leavings_of(folder: Path) -> None:
    """Removes what killed processes left of a training, and nothing else, from a folder."""
    remove_leavings(
        folder, ("rmtscale", SETTINGS, STATE, CUT_STATE, METRICS, BEST, LAST, STAGES, CACHE)
    )
    stages = folder / STAGES
    for own in (folder / BEST, folder / LAST, folder / CACHE, stages, *stages.glob("*")):
        remove_leavings(own, "*")


def forget(folder: Path) -> None:
    """Removes a training, and nothing else, from a folder; what says that it is done goes first."""
    remove_folder(folder / LAST)
    for name in (STATE, METRICS):
        (folder / name).unlink(missing_ok=True)
    for name in (CUT_STATE, BEST, STAGES):
        remove_folder(folder / name)
    (folder / SETTINGS).unlink(missing_ok=True)
