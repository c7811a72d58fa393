"""Settings of a training out of the command line: a recipe or a task's defaults, and options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rmtscale.cli.given import as_given
from rmtscale.errors import BadInput, quoted_list
from rmtscale.readers import load_json

if TYPE_CHECKING:
    from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
    from rmtscale.study.training.settings import LoopSettings


def training_settings(
    folder: Path, recipe: str | None, given: dict[str, Any], *, anew: bool = False
) -> LoopSettings:
    """Decides what is to be trained.

    Args:
        folder: of the training; without recipe and task, what is there goes on.
        recipe: a name of an experiment's training.
        given: settings on top.
        anew: whatever is in the folder will be forgotten.

    Raises:
        BadInput: no such recipe or setting, or one the task does not have.
    """
    from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
    from rmtscale.study.records.old_names import renamed
    from rmtscale.study.training.layout import SETTINGS
    from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
    from rmtscale.study.training.settings_file import read_settings

    goes_on = recipe is None and "task" not in given and not anew
    if goes_on and (folder / SETTINGS).is_file():
        start = read_settings(folder / SETTINGS)
    else:
        start = _start(recipe, given.get("task"))
    if not start.backbone and "backbone" not in given:
        raise BadInput(
            f"recipe {recipe!r} without a backbone: expected --backbone with a folder of "
            "pretrained weights in safetensors and their tokenizer.json"
        )
    kind = type(start)
    given = renamed(given)
    known = [field.name for field in fields(kind) if field.name != "schema_version"]
    for name, value in given.items():
        if name not in known:
            raise BadInput(
                f"{as_given(name) or f'setting {name}={value!r}'} of task "
                f"{given.get('task', start.task)!r}: expected one of {', '.join(known)}"
            )
    try:
        settings = from_mapping(kind, {**to_mapping(start), **given})
    except Misfit as error:
        raise BadInput(str(error).removeprefix(f"{kind.__name__}: ")) from error
    if isinstance(start, MemoryTaskSettings) and "validation_segments" not in given:
        assert isinstance(settings, MemoryTaskSettings)  # of the kind that it was made of
        return replace(settings, validation_segments=_validated_at(settings, start))
    return settings


def _start(recipe: str | None, task: str | None) -> LoopSettings:
    """Takes a recipe, or the defaults of the kind of task that is asked for."""
    from rmtscale.records.mapping import from_mapping
    from rmtscale.study.training.kinds import kind_of

    chosen = "memorize" if task is None else task
    kind = kind_of(chosen)
    if recipe is None:
        return from_mapping(kind.settings, {"task": chosen})
    known = _recipes()
    if recipe not in known:
        near = difflib.get_close_matches(recipe[:80], known, n=3, cutoff=0) or list(known)[:3]
        raise BadInput(
            f"recipe {recipe!r}: expected one of {len(known)} recipes such as {quoted_list(near)}"
        )
    return known[recipe]


@cache
def _recipes() -> Mapping[str, LoopSettings]:
    """All recipes by their names; made once, nothing of them can be changed."""
    from rmtscale.study.figures.babilong import recipes as babilong
    from rmtscale.study.figures.language import recipes as language
    from rmtscale.study.figures.memory_tasks import recipes as memory_tasks
    from rmtscale.study.figures.pretrained_decoder import recipes as pretrained_decoder

    known: dict[str, LoopSettings] = {}
    for place in (memory_tasks, babilong, language, pretrained_decoder):
        known |= place.recipes()
    return MappingProxyType(known)


def _validated_at(settings: MemoryTaskSettings, start: MemoryTaskSettings) -> tuple[int, ...]:
    """Lengths of a validation where the command line names none.

    Those that a recipe chose stay, or trainings of it could not be compared; of them the length of
    the longest stage follows that stage. Else all follow the stages and the burn-in.
    """
    if start.validation_segments == _usually_validated_at(start):
        return _usually_validated_at(settings)
    followed = (
        settings.segments if count == start.segments else count
        for count in start.validation_segments
    )
    return tuple(dict.fromkeys(followed))


def _usually_validated_at(settings: MemoryTaskSettings) -> tuple[int, ...]:
    """The longest stage, and with a burn-in also a long one."""
    segments = settings.segments
    return (segments, max(64, segments)) if settings.burn_in else (segments,)


def read_options(texts: list[str]) -> dict[str, Any]:
    """Options of a task, each ``NAME=VALUE``."""
    return dict(read_pair(text, "option") for text in texts)


def read_pair(text: str, what: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as JSON where it is JSON."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInput(f"--{what} {text!r}: expected NAME=VALUE")
    try:
        return name.strip(), load_json(value)
    except ValueError:
        return name.strip(), value
