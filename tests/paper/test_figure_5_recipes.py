"""The recipes of Figure 5 are what was run."""

from __future__ import annotations

import json

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, recipes
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings


def test_the_recipe_with_all_weights_is_what_was_run() -> None:
    """But for the folders, and the steps, which time cut short on each seed otherwise.

    A setting that is younger than the run was what is its default now.
    """
    defaults = json.loads(MemoryTaskSettings().to_json())
    tried = REPORTS / "figure-5" / "tried" / "pretrained-encoder" / "all-weights"
    ran = [json.loads(line) for line in (tried / "settings.jsonl").read_text().splitlines()]
    assert [one["seed"] for one in ran] == list(SEEDS)
    for one in ran:
        name = f"pretrained-encoder-all-weights-{one.pop('training')}"
        settings = recipes()[name]
        recipe = json.loads(settings.to_json())
        assert min(each["steps"] for each in ran) <= settings.steps <= 1350
        assert settings.lora_rank is None
        assert set(one) <= set(recipe)
        differ = {key for key in recipe if recipe[key] != one.get(key, defaults[key])}
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
