"""The recipes of Figure 5 are what was run."""

from __future__ import annotations

import json

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, recipes
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from tests.committed import settings_that_ran


def test_the_recipe_with_all_weights_is_what_was_run() -> None:
    """But for the folders, and the steps, which time cut short on each seed otherwise."""
    tried = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "all-weights"
    ran = settings_that_ran(tried)
    assert [one["seed"] for one in ran.values()] == list(SEEDS)
    for training, one in ran.items():
        settings = recipes()[f"pretrained-encoder-all-weights-{training}"]
        recipe = json.loads(settings.to_json())
        assert min(each["steps"] for each in ran.values()) <= settings.steps <= 1350
        assert settings.lora_rank is None
        differ = {key for key in recipe if recipe[key] != one[key]}
        assert differ == {"steps", "backbone", "background"}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_recipe_of_reasoning_is_what_was_run(seed: int) -> None:
    """But for the folder of the noise, and how often it was validated."""
    folder = REPORTS / "figure-5" / "checkpoints" / f"reasoning-{seed}"
    ran = json.loads(load_checkpoint(folder).settings.to_json())
    recipe = json.loads(recipes()[f"reasoning-{seed}"].to_json())
    assert set(recipe) == set(ran)
    differ = {key for key in recipe if recipe[key] != ran[key]}
    assert differ == {"background", "validate_every"}
