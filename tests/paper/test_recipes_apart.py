"""Trainings that differ in what they learn from never share a name, a curve or a claim.

Every setting there is goes through here: one that is added later has to get a name of its own, or
a reason in ``NOT_LEARNED`` why it needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from rmtscale.records.mapping import to_mapping
from rmtscale.report.names import legend_columns
from rmtscale.study.figures.babilong import recipes as babilong
from rmtscale.study.figures.babilong.ablation_table import change_of
from rmtscale.study.figures.babilong.runs import runs_of
from rmtscale.study.figures.dead_band.claims import check_claims as check_dead_band
from rmtscale.study.figures.dead_band.comparisons import compare
from rmtscale.study.figures.figure_4 import claims as figure_4
from rmtscale.study.figures.figure_5 import claims as figure_5
from rmtscale.study.figures.figure_5.drawing import draw
from rmtscale.study.figures.figure_11 import claims as figure_11
from rmtscale.study.figures.memory_tasks import encoder_recipes, recipes
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import (
    PRETRAINED_ENCODER,
    by_kind,
    described,
    run_names,
)
from rmtscale.study.figures.memory_tasks.page import csv_of
from rmtscale.study.figures.memory_tasks.ways import trained_way
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.memory_tasks.learned import NOT_LEARNED, learned
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.legible import problems
from tests.synthetic.babilong import babilong as babilong_record
from tests.synthetic.evaluations import ENCODER, curve

WHOLE = replace(ENCODER, lora_rank=None)
NAMES = [field.name for field in fields(MemoryTaskSettings)]
LEARNED = [name for name in NAMES if name not in NOT_LEARNED]
_NEEDED: dict[str, dict[str, Any]] = {
    "replay_asks_segment": {"replay_lost": True},
    "closing_questions": {"replay_lost": False},
    "lora_rank": {"lora_rank": 16},
}
"""What else a setting needs to be on, in both trainings."""
_OTHER: dict[str, object] = {
    "task_options": {"placement": "start"},
    "precision": "fp32",
    "background": "wikipedia",
    "lora_rank": 8,
    "sink_tokens": 2,
    "log_every": 5,
    "validate_every": 1000,
    "last_stage_steps": 100,
}


def other_value(settings: MemoryTaskSettings, name: str) -> object:
    """Another value that the setting may have."""
    if name in _OTHER:
        return _OTHER[name]
    value: Any = getattr(settings, name)
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 300)
    if isinstance(value, float):
        return value / 2 if value else 0.25
    assert isinstance(value, int), f"{name} needs a line in _OTHER"
    return value + 1


def pair(name: str, base: MemoryTaskSettings) -> tuple[MemoryTaskSettings, MemoryTaskSettings]:
    """A training, and one that differs in one setting."""
    usual = replace(base, background="prose", **_NEEDED.get(name, {}))
    other: dict[str, Any] = {name: other_value(usual, name)}
    return usual, replace(usual, **other)


def whole(settings: MemoryTaskSettings) -> tuple[dict[str, object], ...]:
    return (learned(settings),)


def trained(
    settings: MemoryTaskSettings, weights: str, seed: int = 0, **values: Any
) -> list[EvaluationRecord]:
    values = {
        "trained_backbone": ENCODER if settings.lora_rank is not None else WHOLE,
        "trained_with": whole(settings),
        "task": settings.task,
        **values,
    }
    return curve([1, 4096], 1.0, weights=weights, trained_seed=seed, **values)


def test_every_setting_is_named_or_has_a_reason() -> None:
    assert set(NOT_LEARNED) <= set(NAMES), "a reason without a setting"
    assert len(LEARNED) > 40
    for name in NOT_LEARNED:
        usual, changed = (
            pair(name, encoder_recipes.pretrained_encoder("reasoning", 0))
            if (name not in ("schema_version", "task", "backbone", "init_from", "merge_lora"))
            else (None, None)
        )
        assert usual is None or changed is None or learned(usual) == learned(changed), name


@pytest.mark.parametrize("name", LEARNED)
def test_two_recipes_have_two_names_on_every_page(name: str) -> None:
    usual, changed = pair(name, encoder_recipes.pretrained_encoder("reasoning", 0))
    assert learned(usual) != learned(changed)
    records = [*trained(usual, "a"), *trained(changed, "b")]
    names = run_names(records)
    assert len(set(names.values())) == 2
    assert not any("training 2" in name for name in names.values()), "that is one recipe, twice"
    curves = figure_5.by_task(records)
    assert len(curves["reasoning"]) == 2
    # Two seeds that would hold the claim together hold it apart no more.
    records = [*trained(usual, "a"), *trained(changed, "b", 1)]
    paper = figure_5.paper_curves()
    claims = figure_5.check_encoder(figure_5.by_task(records), paper)
    on_seeds = [claim for claim in claims if claim.text.endswith("on 2 seeds")]
    assert [claim.outcome for claim in on_seeds if "Reasoning" in claim.text] == [
        "not measurable",
        "not measurable",
    ]
    alike = figure_5.check_encoder(
        figure_5.by_task([*trained(usual, "a"), *trained(usual, "b", 1)]), paper
    )
    assert any(claim.outcome == "pass" and claim.text.endswith("on 2 seeds") for claim in alike), (
        "two seeds of one recipe do"
    )


@pytest.mark.parametrize("name", LEARNED)
def test_no_recipe_stands_in_for_another_in_figures_4_and_11(name: str) -> None:
    usual, changed = pair(name, encoder_recipes.pretrained_encoder("memorize", 0))
    paper = figure_4.paper_curves()
    records = [
        one
        for settings, weights in ((usual, "a"), (changed, "b"))
        for one in trained(settings, weights)
    ]
    texts = [claim.text for claim in figure_4.check_encoder(records, paper)]
    nowhere = [text for text in texts if "models" in text and "Memorize, seed" in text]
    assert len(set(nowhere)) == 2
    (shown,) = {
        record.point.weights
        for own in figure_4.by_task(records)["memorize"].values()
        for record in own.values()
    }
    assert shown == "a", "the usual recipe is drawn"
    if name != "curriculum":  # Figure 11 tells these apart by their ways
        ways = figure_11.by_way(records)
        assert len(ways) == 2
        assert all(way.startswith("curriculum") for way in ways)
        texts = [claim.text for claim in figure_11.check_claims(ways, 4)]
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", LEARNED)
def test_the_dead_band_counts_seeds_of_one_recipe(name: str) -> None:
    def claims(second: MemoryTaskSettings) -> list[str]:
        records = [
            one
            for seed, settings in enumerate((usual, second, second))
            for band in (0.0, 0.5)
            for one in trained(settings, f"{seed}", seed, dead_band=band)
        ]
        made = compare(records)[PRETRAINED_ENCODER]
        found = check_dead_band(made, figure_5.paper_curves(), kind=PRETRAINED_ENCODER)
        # That of Reasoning, of which there is no record here, is not measurable.
        own = [claim for claim in found if TITLES["detect-memorize"] in claim.text]
        return [claim.outcome for claim in own if claim.text.endswith("on 3 seeds")]

    usual, changed = pair(name, encoder_recipes.pretrained_encoder("detect-memorize", 0))
    assert claims(usual) == ["pass"]
    assert claims(changed) == ["not measurable", "not measurable"]


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "whole_vocabulary"])
def test_two_recipes_have_two_titles_on_the_page_of_babilong(name: str) -> None:
    usual, changed = pair(name, babilong.full("qa2", 0))

    def made(settings: MemoryTaskSettings, weights: str) -> BabilongRecord:
        one = babilong_record("qa2", "4k", 0.9, weights=weights)
        assert one.training is not None
        training = replace(one.training, trained_with=whole(settings))
        return replace(one, training=training)

    titles = [run.title for run in runs_of([made(usual, "a" * 16), made(changed, "b" * 16)])]
    assert len(set(titles)) == 2
    assert not any("weights" in title for title in titles), "settings tell them apart"


def test_a_change_that_is_noted_is_no_run_of_the_ablation() -> None:
    settings = babilong.ablated("qa1", "replay", 0)
    names = (
        *("backbone", "memory_tokens", "sink_tokens", "burn_in", "fact_fragments", "replay_lost"),
        *("between_share", "initializer_range", "closing_questions", "memory_noise"),
        *("late_facts", "burn_in_dead_band", "seed"),
    )
    values: dict[str, Any] = {name: getattr(settings, name) for name in names}
    values |= {"stories": "qa1", "ask_state": False}
    values["segment_tokens"] = settings.segment_size - 2 * settings.memory_tokens
    found = []
    for asks in (False, True):
        one = babilong_record("qa1", "4k", 0.9)
        assert one.training is not None
        noted = whole(replace(settings, replay_asks_segment=asks))
        training = replace(one.training, **values, trained_with=noted)
        point = replace(one.point, stories="qa1", answers="classes", dead_band=0.0)
        (run,) = runs_of([replace(one, training=training, point=point)])
        found.append(change_of(run))
    assert found == ["replay", None]


def _told(weight: float, **more: Any) -> dict[str, object]:
    usual = encoder_recipes.pretrained_encoder("reasoning", 0)
    return learned(replace(usual, told_weight=weight, **more))


@pytest.mark.parametrize(
    ("chain", "way"),
    [
        ((_told(0.0),), ""),
        ((_told(0.3),), "told weight 0.3"),
        (({**_told(0.3), "of_before": True},), "told weight 0.3, of before"),
        ((_told(1.0), _told(0.3)), "told weight 0.3"),
        ((_told(1.0), _told(0.0)), "first with told weight 1"),
        (
            (_told(1.0, task_options={"placement": "start"}), _told(1.0)),
            "told weight 1, first with placement start",
        ),
        ((_told(0.0, replay_lost=False),), "no replay lost"),
        ((_told(0.0), _told(0.0, memory_tokens=20)), "20 memory tokens"),
        ((_told(0.0, memory_tokens=5), _told(0.0)), "first with 5 memory tokens"),
        (({**_told(0.0), "of_a_later_version": 2},), "of a later version 2"),
    ],
)
def test_a_way_says_what_was_on_before_too(chain: tuple[dict[str, object], ...], way: str) -> None:
    (record,) = curve([1], 1.0, task="reasoning", trained_backbone=ENCODER, trained_with=chain)
    assert set(trained_way(record).split(", ")) == set(way.split(", "))
    (whole_one,) = curve([1], 1.0, task="reasoning", trained_backbone=WHOLE, trained_with=chain)
    assert trained_way(whole_one).startswith("all weights")


def test_what_weights_were_trained_with_before_tells_them_apart() -> None:
    usual = encoder_recipes.pretrained_encoder("reasoning", 0)
    once = whole(usual)
    for before in (
        (learned(replace(usual, learning_rate=1.0)),),
        (learned(replace(usual, told_weight=1.0)),),
        (learned(usual), learned(usual)),
    ):
        records = [
            *trained(usual, "a"),
            *trained(usual, "b", trained_with=(*before, *once)),
        ]
        names = run_names(records)
        assert names["a"] == "seed 0"
        assert names["b"] != names["a"]
        assert "training 2" not in names["b"]
    first, second = (
        trained(usual, rate, trained_with=(learned(replace(usual, learning_rate=each)), *once))
        for rate, each in (("a", 1.0), ("b", 2.0))
    )
    assert run_names([*first, *second]) == {
        "a": "seed 0, first with learning rate 1",
        "b": "seed 0, first with learning rate 2",
    }


def test_a_training_more_is_named_by_how_many_there_were() -> None:
    """Not by all that was other in them; trainings of as many are told apart by that."""
    usual = encoder_recipes.pretrained_encoder("memorize", 0)
    begun, on = learned(usual), learned(replace(usual, replay_lost=True))
    again = learned(replace(usual, learning_rate=3e-4, start_tokens=(), burn_in=(64, 256)))
    slower = learned(replace(usual, learning_rate=1e-4, start_tokens=(), burn_in=(64, 256)))
    chains = {"a": (begun, on), "b": (begun, again, on)}
    records = [one for key, own in chains.items() for one in trained(usual, key, trained_with=own)]
    assert run_names(records) == {
        "a": "seed 0, replay lost",
        "b": "seed 0, replay lost, in 3 trainings",
    }
    records += trained(usual, "c", trained_with=(begun, slower, on))
    names = run_names(records)
    assert names["a"] == "seed 0, replay lost"
    assert names["b"].startswith("seed 0, replay lost, in 3 trainings, first with learning rate 0.")
    assert len(set(names.values())) == 3
    # One that nobody noted is one training.
    both = [
        *trained(usual, "d", trained_with=None),
        *trained(usual, "e", trained_with=(again, begun)),
    ]
    assert run_names(both) == {"d": "seed 0", "e": "seed 0, in 2 trainings"}


def test_records_of_before_keep_their_names_and_lines() -> None:
    """A training whose settings nobody noted is the usual recipe, and a note does not rename it."""
    usual = replace(encoder_recipes.pretrained_encoder("reasoning", 0), background="prose")
    old = trained(usual, "a", trained_with=None)
    assert "trained_with" not in old[0].to_mapping()
    assert run_names(old) == {"a": "seed 0"}
    again = trained(usual, "b")
    assert run_names([*old, *again]) == {"a": "seed 0", "b": "seed 0, training 2"}
    faster = trained(replace(usual, learning_rate=1e-3), "c")
    assert run_names([*old, *faster]) == {"a": "seed 0", "c": "seed 0, learning rate 0.001"}
    # Weights that were read again, with their settings noted, are one training.
    noted = trained(replace(usual, told_weight=0.3), "a")[1:]
    (both,) = by_kind([old[0], *noted]).values()
    assert run_names(both) == {"a": "seed 0, told weight 0.3"}
    assert list(figure_5.by_task(both)["reasoning"]) == ["seed 0, told weight 0.3"]


def test_the_page_and_its_numbers_say_the_recipe() -> None:
    usual = encoder_recipes.pretrained_encoder("reasoning", 0)
    told = trained(replace(usual, told_weight=0.3), "b", 1)
    text = described([*trained(usual, "a"), *told])
    assert "LoRA of rank 16, told weight 0.3: Reasoning, seed 1." in " ".join(text.split())
    assert "recipe" not in csv_of(trained(usual, "a")).splitlines()[0]
    assert "told weight 0.3" in csv_of(told)


def test_what_is_noted_comes_back_and_obeys_no_terminal() -> None:
    noted = ({"task_options.placement": "start\x1b[2J", "told_weight": 0.3},)
    (record,) = curve([1], 1.0, task="reasoning", trained_backbone=ENCODER, trained_with=noted)
    assert record.to_mapping()["trained_with"] == [dict(noted[0])]
    assert "\x1b" not in trained_way(record)


@pytest.mark.parametrize("task", recipes.TASKS)
def test_the_usual_recipe_needs_no_name(task: str) -> None:
    for backbone, make in (
        (ENCODER, encoder_recipes.pretrained_encoder),
        (replace(ENCODER, kind="decoder", pretrained=False, lora_rank=None), recipes.full),
    ):
        build: Callable[[str, int], MemoryTaskSettings] = make
        for seed in recipes.SEEDS:
            noted = whole(build(task, seed))
            (one,) = curve([1], 1.0, task=task, trained_backbone=backbone, trained_with=noted)
            assert trained_way(one) == ""
    (one,) = curve(
        [1],
        1.0,
        task="detect-memorize",
        trained_backbone=WHOLE,
        trained_with=whole(encoder_recipes.all_weights(1)),
    )
    assert trained_way(one) == "all weights"
    assert to_mapping(encoder_recipes.all_weights(1))["lora_rank"] is None


START, SHORT, LONG = map(learned, encoder_recipes.all_weights_reasoning(1))


@pytest.mark.parametrize(
    ("chain", "way"),
    [
        ((START, SHORT, LONG), ""),
        ((SHORT, START, SHORT, LONG), "first with contrast share 0.5, first with no placement"),
        ((START, SHORT, {**LONG, "told_weight": 0.1}), "told weight 0.1"),
        ((START, SHORT, LONG, {**LONG, "memory_noise": 0.3}), "noise 0.3 on the memory"),
        ((START, SHORT, LONG, {**LONG, "of_before": True}, LONG), "first with of before"),
        ((START, SHORT, LONG, {**LONG, "learning_rate": 1e-5}), ""),
        ((START, {**SHORT, "told_weight": 0.5}, LONG), "first with told weight 0.5"),
        (({**START, "contrast_share": 0.5}, SHORT, LONG), "first with contrast share 0.5"),
        ((SHORT, LONG), "in 2 trainings"),
        ((LONG,), "in one training"),
    ],
)
def test_a_usual_recipe_of_several_trainings_is_all_of_them(
    chain: tuple[dict[str, object], ...], way: str
) -> None:
    (one,) = curve([1], 1.0, task="reasoning", trained_backbone=WHOLE, trained_with=chain)
    assert trained_way(one) == (f"all weights, {way}" if way else "all weights")


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"b": (LONG,)}, {"b": "with 1 later training"}),
        (
            {"b": (LONG,), "c": (LONG, LONG)},
            {"b": "with 1 later training", "c": "with 2 later trainings"},
        ),
        (
            {"b": ({**LONG, "batch_size": 8},), "c": ({**LONG, "batch_size": 16},)},
            {
                "b": "with 1 later training, batch size 8",
                "c": "with 1 later training, batch size 16",
            },
        ),
        (
            {"b": (LONG,), "c": ({**LONG, "batch_size": 8}, LONG)},
            {
                "b": "with 1 later training",
                "c": "with 2 later trainings, first with batch size 8",
            },
        ),
    ],
)
def test_what_went_on_from_a_recipe_of_several_is_named_by_that(
    later: dict[str, tuple[dict[str, object], ...]], words: dict[str, str]
) -> None:
    """And what it went on from keeps its name, where the weights between were not read."""
    chains = {"a": (), **later}
    records = [
        one
        for weights, more in chains.items()
        for one in trained(
            encoder_recipes.all_weights_reasoning(0)[-1],
            weights,
            trained_with=(START, SHORT, LONG, *more),
            trained_from="nowhere",
        )
    ]
    names = {weights: f"seed 0, all weights, {more}" for weights, more in words.items()}
    assert run_names(records) == {"a": "seed 0, all weights", **names}
    # A beginning of its own is told apart by that.
    other = {**LONG, "learning_rate": 1e-5}
    records += trained(
        encoder_recipes.all_weights_reasoning(0)[-1], "o", trained_with=(START, SHORT, other, LONG)
    )
    assert "learning rate 1e-05" in run_names(records)["o"]


def test_a_list_of_trainings_says_what_a_recipe_of_several_has() -> None:
    """Where names are short: what taught the memory is no part of the name."""
    (one,) = curve(
        [1], 1.0, task="reasoning", trained_backbone=WHOLE, trained_with=(START, SHORT, LONG)
    )
    assert trained_way(one) == "all weights"
    said = " ".join(described([one]).split())
    assert said.startswith(
        f"{WHOLE.name}, all weights trained, contrast share 0.5, told weight 0.3, first with "
        "placement start."
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_long_names_are_written_inside_the_picture(count: int) -> None:
    """Titles of panels are broken into lines, a legend has as many columns as there is room."""
    usual = encoder_recipes.pretrained_encoder("reasoning", 0)
    told = replace(usual, told_weight=0.3, contrast_share=0.5, memory_noise=0.25)
    records = [one for seed in (0, 1) for one in trained(told, f"{seed}", seed)]
    ours = figure_5.by_task(records)
    kinds = [PRETRAINED_ENCODER, "encoder from random initialisation", "pretrained decoder", "x"]
    figure = draw(
        [figure_5.group_of(kind, ours) for kind in kinds[:count]], figure_5.paper_curves()
    )
    assert problems(figure) == []
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0].count("\n") >= 1
    assert "told weight 0.3" in " ".join(titles[0].split())
    assert len(figure.axes) == 2 * count


def test_a_legend_has_the_columns_that_there_is_room_for() -> None:
    names = ["a" * 10] * 6
    assert legend_columns(names, 100) == 5
    assert legend_columns(names, 100, most=2) == 2
    assert legend_columns(names[:1], 100) == 1
    # Three columns of one piece of a line and ten letters each: 3 x (0.5 + 0.7) inches.
    assert legend_columns(names, 3.61) == 3
    assert legend_columns(names, 3.59) == 2
    assert legend_columns(names, 0.1) == 1
    # Columns are as wide as their own names: the long one stands alone in the first of them.
    assert legend_columns(["a" * 50, "a", "a"], 4.0 + 2 * 0.57 + 0.01) == 3
