"""Where a training is validated, when the command line changes a recipe and names no lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rmtscale.cli.train_settings import training_settings
from rmtscale.study.figures.babilong.recipes import recipes as babilong
from rmtscale.study.figures.memory_tasks.recipes import recipes as memory_tasks
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

RECIPES = {
    name: settings
    for name, settings in (memory_tasks() | babilong()).items()
    if isinstance(settings, MemoryTaskSettings)
}
OWN = {
    (recipe.segments, recipe.validation_segments): name
    for name, recipe in RECIPES.items()
    if recipe.validation_segments
    not in {(recipe.segments,), (recipe.segments, max(64, recipe.segments))}
}
"""A recipe of every choice of lengths, by its longest stage and them."""


def validated(folder: Path, recipe: str | None, **given: Any) -> tuple[int, ...]:
    settings = training_settings(folder, recipe, {"backbone": "folder", **given})
    assert isinstance(settings, MemoryTaskSettings)
    return settings.validation_segments


def test_some_recipes_choose_lengths() -> None:
    assert {(7, (7, 192)), (7, (7, 64, 256))} <= set(OWN)


@pytest.mark.parametrize("given", [{"steps": 50}, {"burn_in": [3, 5]}], ids=str)
def test_what_a_recipe_chose_stays(tmp_path: Path, given: dict[str, Any]) -> None:
    """Or two trainings of a recipe with other burn-ins could not be compared."""
    for (_, lengths), name in OWN.items():
        assert validated(tmp_path, name, **given) == lengths, name


def test_the_longest_stage_is_followed(tmp_path: Path) -> None:
    for (segments, lengths), name in OWN.items():
        found = validated(tmp_path, name, segments=segments + 1)
        assert list(found) == [segments + 1 if one == segments else one for one in lengths], name


@pytest.mark.parametrize(
    ("given", "lengths"),
    [
        ({"segments": 3, "burn_in": [16]}, (3, 64)),
        ({"segments": 3, "burn_in": []}, (3,)),
        ({"segments": 80, "burn_in": [16]}, (80, 80)),
    ],
)
def test_else_all_follow(tmp_path: Path, given: dict[str, Any], lengths: tuple[int, ...]) -> None:
    assert validated(tmp_path, None, task="memorize", **given) == lengths


def test_lengths_that_are_named_are_taken(tmp_path: Path) -> None:
    name = "pretrained-encoder-all-weights-reasoning-0"
    named = {"validation_segments": [2, 5], "burn_in": [3], "segments": 4}
    assert validated(tmp_path, name, **named) == (2, 5)
