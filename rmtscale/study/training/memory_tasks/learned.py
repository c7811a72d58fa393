"""Settings that change what is learned: trainings that differ in one of them are told apart.

Every setting counts unless ``NOT_LEARNED`` says why it does not, so that one that is added later
counts too. What is off by default (0, none, empty, or a switch) is a change of its own and always
named where it is on, and so is another number of memory tokens; other numbers that every training
has, such as the learning rate, are named where two trainings differ in them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any

from rmtscale.printable import printable
from rmtscale.records.mapping import to_mapping
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

NOT_LEARNED = {
    "schema_version": "the form of the file",
    "task": "records of two tasks never share a curve",
    "backbone": "a record names it",
    "seed": "a training is named by it",
    "steps": "a record has the steps that were made",
    "last_stage_steps": "as above",
    "init_from": "a path: what the weights learned before is noted in its place",
    "keep_stages": "which checkpoints are kept",
    "validate_every": "which weights are kept, not what they learn",
    "validation_samples": "as above",
    "validation_segments": "as above",
    "checkpoint_segments": "the same gradients in less memory",
    "compile_step": "the same numbers but for rounding",
    "cuda_graph": "the same numbers",
    "merge_lora": "the same numbers but for rounding",
}
"""Why a setting is no part of what was learned."""

Noted = Mapping[str, object]
"""Settings away from their defaults, by name; an option of the task under ``task_options.NAME``."""
_OPTION = "task_options."
_PHRASES = {
    "memory_tokens": "{} memory tokens",
    "closing_questions": "{} closing questions",
    "rare_share": "rare questions in {} of the stories",
    "late_facts": "up to {} late facts",
    "burn_in_dead_band": "burn-ins with a dead band of {}",
    "memory_noise": "noise {} on the memory",
}
_NUMBERS = ("lora_rank",)
"""Not changes of their own, although off by default: whether all weights were trained is named by
whoever shows both."""

_SIZES = ("memory_tokens",)
"""Changes of their own, although every training has them: a training with more memory tokens than
it began with is another model, and no later state of the same one."""


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


_DEFAULTS: dict[str, Any] = {field.name: _default(field) for field in fields(MemoryTaskSettings)}


def learned(settings: MemoryTaskSettings) -> dict[str, object]:
    """Collects the settings that change what is learned, where they are not the default."""
    found: dict[str, object] = {}
    for name, value in to_mapping(settings).items():
        if name == "task_options":
            found |= {f"{_OPTION}{option}": chosen for option, chosen in value.items()}
        elif name not in NOT_LEARNED and _hashable(value) != _hashable(_DEFAULTS.get(name)):
            found[name] = value
    return found


def changes(
    trained: Sequence[Noted], usual: Sequence[Noted], beside: Sequence[str] = ()
) -> list[str]:
    """Names what is on, or off, in a training and not in the usual one.

    Args:
        trained: settings of all trainings of the weights, the last one last.
        usual: those of the recipe that needs no name, of all of its trainings. What goes on from
            all of these is held against the last of them, what was trained before as many against
            the first.
        beside: settings that are named by other means.
    """
    words = []
    more = len(trained) - len(usual)
    goes_on = more > 0 and not any(map(_differ, trained, usual))
    first, final = [usual[0]] * more, [usual[-1]] * more
    own_usual = [*usual, *final] if goes_on else [*first, *usual[-len(trained) :]]
    *before, (last, usual_last) = zip(trained, own_usual, strict=True)
    for name in _names([*trained, *usual]):
        if name in beside or not _is_change(name):
            continue
        if _value(last, name) != _value(usual_last, name):
            words.append(_words(name, last.get(name, _DEFAULTS.get(name))))
            continue
        other = [one for one, own in before if _value(one, name) != _value(own, name)]
        if other:
            words.append(f"first with {_words(name, other[-1].get(name, _DEFAULTS.get(name)))}")
    if more < 0:
        words.append(_in_trainings(len(trained)))
    return words


def memory_tokens_before(trained: Sequence[Noted]) -> list[int]:
    """Lists the numbers of memory tokens that weights had before their last one, each once.

    Args:
        trained: settings of all trainings of the weights, the last one last; none where they were
            not noted.
    """
    default = _DEFAULTS["memory_tokens"]
    counts = [int(str(one.get("memory_tokens", default))) for one in trained]
    return list(dict.fromkeys(count for count in counts if count != counts[-1]))


def _in_trainings(count: int) -> str:
    return "in one training" if count == 1 else f"in {count} trainings"


def _differ(one: Noted, other: Noted) -> bool:
    names = filter(_is_change, _names([one, other]))
    return any(_value(one, name) != _value(other, name) for name in names)


def differences(
    trainings: Mapping[str, Sequence[Noted] | None], usual: Noted
) -> dict[str, list[str]]:
    """Names the settings in which trainings differ from one another, of each what is not usual.

    Where some weights had more trainings than others that is named, and those of as many trainings
    are held against one another, from the last one on. Where a recipe of several trainings is the
    beginning of all, and some went on from it, only what came after it is.

    Args:
        trainings: settings of all trainings of the weights, the last one last, by any key; None
            where they were not noted, and taken to be usual.
        usual: settings of the recipe that needs no name.
    """
    gone_on = _gone_on(trainings)
    if gone_on:
        return _later(gone_on, usual)
    chains = {key: [usual] if own is None else list(own) for key, own in trainings.items()}
    fewest = min(map(len, chains.values()), default=0)
    found: dict[str, list[str]] = {}
    for count in sorted(set(map(len, chains.values()))):
        alike = {key: own for key, own in chains.items() if len(own) == count}
        more = [_in_trainings(count)] if count > fewest else []
        found |= {key: list(more) for key in alike}
        for place in reversed(range(count)):
            first = "" if place == count - 1 else "first with "
            reached = {key: own[place] for key, own in alike.items()}
            for key, words in _apart(reached, usual).items():
                found[key] += [f"{first}{each}" for each in words]
    return {key: found[key] for key in trainings}


def _gone_on(trainings: Mapping[str, Sequence[Noted] | None]) -> dict[str, Sequence[Noted]]:
    """Returns of each what came after the recipe of several trainings that all begin with; empty
    where they begin with no such recipe, or none went on from it."""
    noted = {key: own for key, own in trainings.items() if own is not None}
    if len(noted) < len(trainings) or len(set(map(len, noted.values()))) < 2:
        return {}
    shared = min(map(len, noted.values()))
    alike = all(
        _hashable(one) == _hashable(other)
        for places in zip(*noted.values(), strict=False)
        for one, other in pairwise(places)
    )
    if shared < 2 or not alike:
        return {}
    return {key: own[shared:] for key, own in noted.items()}


def _later(after: Mapping[str, Sequence[Noted]], usual: Noted) -> dict[str, list[str]]:
    """Names how many trainings came after a recipe, and in what these are not the same."""
    found: dict[str, list[str]] = {}
    for key, own in after.items():
        plural = "s" if len(own) > 1 else ""
        found[key] = [f"with {len(own)} later training{plural}"] if own else []
    for place in range(max(map(len, after.values()))):
        reached = {key: own[place] for key, own in after.items() if len(own) > place}
        for key, words in _apart(reached, usual).items():
            later = "" if place == len(after[key]) - 1 else "first with "
            found[key] += [f"{later}{each}" for each in words]
    return found


def _apart(settings: Mapping[str, Noted], usual: Noted) -> dict[str, list[str]]:
    """Names of each what is not usual in the settings that are not the same in all."""
    found: dict[str, list[str]] = {key: [] for key in settings}
    for name in _names([*settings.values(), usual]):
        if len({_value(one, name) for one in settings.values()}) < 2:
            continue
        for key, one in settings.items():
            if _value(one, name) != _value(usual, name):
                found[key].append(_words(name, one.get(name, _DEFAULTS.get(name))))
    return found


def _names(settings: Sequence[Noted]) -> list[str]:
    """Lists the names in their order among the settings; unknown ones, of a later version, last."""
    there = {name for one in settings for name in one}
    known = [name for name in _DEFAULTS if name in there]
    return known + sorted(there.difference(known))


def _is_change(name: str) -> bool:
    default = _DEFAULTS.get(name)
    off = isinstance(default, bool) or not default
    return name in _SIZES or (off and name not in _NUMBERS)


def _value(settings: Noted, name: str) -> Hashable:
    return _hashable(settings.get(name, _DEFAULTS.get(name)))


def _hashable(value: object) -> Hashable:
    """Returns equal values for what is equal in JSON; True is not 1 there."""
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _hashable(item)) for key, item in value.items()))
    return (type(value).__name__ if isinstance(value, bool) else "", value)


def _words(name: str, value: object) -> str:
    """Writes a setting: ``told weight 0.3``, ``replay lost``, ``no burn in``."""
    shown = name.removeprefix(_OPTION).replace("_", " ")
    if isinstance(value, bool):
        return shown if value else f"no {shown}"
    if not value:
        return f"no {shown}"
    items = value if isinstance(value, list | tuple) else [value]
    text = "/".join(f"{x:g}" if isinstance(x, float) else printable(str(x)) for x in items)
    return _PHRASES[name].format(text) if name in _PHRASES else f"{shown} {text}"
