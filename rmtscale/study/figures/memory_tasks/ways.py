"""The recipe that a training followed, in words: two recipes never share a name or a claim.

The usual recipe of a task on a kind of backbone needs no name. Whatever else a training had on or
off is named on every page, from its record; numbers that all trainings have are named where two of
one task differ in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from rmtscale.study.figures.memory_tasks import encoder_recipes, recipes
from rmtscale.study.records.evaluation import EvaluationRecord, TrainedBackbone
from rmtscale.study.training.memory_tasks.learned import Noted, changes, differences, learned
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

Thing = TypeVar("Thing")
ALL_WEIGHTS = "all weights"
LORA = "LoRA"
USUAL = ("", LORA, ALL_WEIGHTS)
"""Words of the usual recipes: of a backbone from random initialisation, and of a pretrained one."""


def trained_way(record: EvaluationRecord) -> str:
    """Names how a model was trained; nothing is the usual recipe, of a pretrained backbone LoRA.

    Returns:
        Words such as ``all weights, told weight 0.3``.
    """
    backbone = record.trained_backbone
    return way_of(record.point.task, backbone, record.trained_with)


def changes_in_full(record: EvaluationRecord) -> str:
    """Names what a training had on or off, for a list of how all were trained.

    What the usual recipe of all weights in a pretrained encoder adds to that of LoRA is named too.
    """
    backbone = record.trained_backbone
    if backbone is not None and _whole(backbone):
        backbone = replace(
            backbone, lora_rank=encoder_recipes.pretrained_encoder("memorize", 0).lora_rank
        )
    return way_of(record.point.task, backbone, record.trained_with)


def trained_words(record: EvaluationRecord) -> str:
    """Names the same where several are shown: LoRA in a pretrained backbone is named too."""
    way = trained_way(record)
    lora = LORA if trained_part(record) == LORA else ""
    return ", ".join(filter(None, (lora, way)))


def trained_part(record: EvaluationRecord) -> str:
    """Names what of a pretrained backbone was trained, LoRA or all weights; of others nothing."""
    backbone = record.trained_backbone
    if backbone is None or not backbone.pretrained:
        return ""
    return ALL_WEIGHTS if _whole(backbone) else LORA


def way_of(
    task: str,
    backbone: TrainedBackbone | None,
    trained_with: Sequence[Noted] | None,
    beside: Sequence[str] = (),
) -> str:
    """Names how a model was trained, as ``trained_way`` does.

    Args:
        task: it was trained on.
        backbone: its own; None where it was not noted.
        trained_with: settings of its trainings; None where they were not noted.
        beside: settings that are named by other means.
    """
    words = [ALL_WEIGHTS] if _whole(backbone) else []
    if trained_with:
        chain = [learned(one) for one in usual_trainings(task, backbone)]
        words += changes(trained_with, chain, beside)
    return ", ".join(words)


def apart(records: Iterable[EvaluationRecord]) -> dict[str, str]:
    """Names, by the digest of their weights, in which numbers trainings of one task differ that
    have the same way and backbone: ``learning rate 0.0001``, or nothing."""
    groups: dict[tuple[object, ...], dict[str, EvaluationRecord]] = {}
    for record in records:
        backbone = record.trained_backbone
        key = record.point.task, trained_words(record), backbone and backbone.name
        groups.setdefault(key, {}).setdefault(record.point.weights, record)
    found: dict[str, str] = {}
    for own in groups.values():
        first = next(iter(own.values()))
        usual_noise = usual(first.point.task, first.trained_backbone).background
        plain = learned(usual(first.point.task, first.trained_backbone))
        last = [one.trained_with[-1] for one in own.values() if one.trained_with]
        noise = {str(settings.get("background", usual_noise)) for settings in last}
        if noise:  # No recipe has a noise of its own: it is given.
            plain["background"] = min(noise)
        trainings = {weights: one.trained_with for weights, one in own.items()}
        for weights, words in differences(trainings, plain).items():
            found[weights] = ", ".join(words)
    return found


def by_recipe(
    things: Iterable[Thing], record_of: Callable[[Thing], EvaluationRecord]
) -> dict[str, list[Thing]]:
    """Groups what was made of trainings of one task by their recipes.

    Args:
        things: curves, or pairs of them, each of one training.
        record_of: gives a record of each.

    Returns:
        Groups by the words that tell them apart; of a single one, by nothing, where it is the usual
        recipe or of LoRA and all weights the only one.
    """
    groups = by_recipe_in_full(things, record_of)
    if len(groups) > 1:
        return groups
    return {"" if way in USUAL else way: own for way, own in groups.items()}


def by_recipe_in_full(
    things: Iterable[Thing], record_of: Callable[[Thing], EvaluationRecord]
) -> dict[str, list[Thing]]:
    """Groups as ``by_recipe`` does, and of a single recipe names LoRA and all weights too."""
    known = list(things)
    differ = apart(map(record_of, known))
    groups: dict[str, list[Thing]] = {}
    for thing in known:
        record = record_of(thing)
        words = trained_words(record), differ[record.point.weights]
        groups.setdefault(", ".join(filter(None, words)), []).append(thing)
    return groups


def usual(task: str, backbone: TrainedBackbone | None) -> MemoryTaskSettings:
    """Returns the recipe of a task on a kind of backbone whose settings need no name."""
    return usual_trainings(task, backbone)[-1]


def usual_trainings(task: str, backbone: TrainedBackbone | None) -> Sequence[MemoryTaskSettings]:
    """Returns that recipe with those that it begins with, where these need no name either."""
    if backbone is not None and backbone.pretrained and backbone.kind == "encoder":
        if task == "detect-memorize" and _whole(backbone):
            return (encoder_recipes.all_weights(0),)
        if task == "reasoning" and _whole(backbone):
            return encoder_recipes.all_weights_reasoning(0)
        return (encoder_recipes.pretrained_encoder(task, 0),)
    if backbone is not None and backbone.name == recipes.quick(task).backbone:
        return (recipes.quick(task),)
    return (recipes.full(task, 0),)


def _whole(backbone: TrainedBackbone | None) -> bool:
    return backbone is not None and backbone.pretrained and backbone.lora_rank is None
