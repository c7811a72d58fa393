"""Settings in a file beside a training: read back, and held against those asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.readers import read_json
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.study.records.old_names import renamed
from rmtscale.study.training.kinds import kind_of
from rmtscale.study.training.settings import LoopSettings

MAY_CHANGE = ("steps", "last_stage_steps")
"""Settings that may differ when a training goes on: its end may be moved, nothing else."""


def settings_from(mapping: object) -> LoopSettings:
    """Makes settings of the kind that their task has.

    Raises:
        BadInput: no such task.
        Misfit: not settings.
    """
    mapping = renamed(mapping)
    task = mapping.get("task") if isinstance(mapping, Mapping) else None
    return from_mapping(kind_of(str(task)).settings, mapping)


def read_settings(path: Path) -> LoopSettings:
    """Reads the settings of a file.

    Raises:
        BadInput: no JSON, not settings, or of another version.
    """
    mapping = read_json(path, f"settings {str(path)!r}")
    try:
        return settings_from(mapping)
    except ValueError as error:
        raise BadInput(f"settings {str(path)!r}: {error}") from error


def require_same(path: Path, settings: LoopSettings, *, steps_too: bool = False) -> None:
    """Raises ``BadInput`` unless the training in a folder is the one asked for.

    Args:
        path: of its settings.
        settings: asked for.
        steps_too: the end may not have been moved either.
    """
    stored = read_settings(path)
    moved = () if steps_too else MAY_CHANGE
    both = [name for name in moved if hasattr(stored, name) and hasattr(settings, name)]
    same = replace(stored, **{name: getattr(settings, name) for name in both})
    if same == settings:
        return
    # The task first: settings of two kinds have other fields.
    names = ["task", *to_mapping(settings)]
    name = next(field for field in names if getattr(same, field) != getattr(settings, field))
    raise BadInput(
        f"{name.replace('_', ' ')} {getattr(settings, name)!r}: the training in "
        f"{str(path.parent)!r} has {getattr(stored, name)!r}; expected the same, another --out, or "
        "--force to begin anew"
    )
