"""What is compared in Figures 7, 8, 9, 12 and Table 1 is comparable."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.plan import Plan, Trainings, plan
from rmtscale.study.figures.language.recipes import SEEDS, recipes
from rmtscale.study.figures.registry import FIGURES, LANGUAGE

TEXTS = {"latex": "L"}
OTHER_TEXTS = {"figure-9": {"lean": "D"}, "table-1": {"latex": "L", "prose": "P"}}
"""By figure."""
TRAINED = [name for name, figure in FIGURES.items() if figure.kind is LANGUAGE]


def trainings(name: str) -> Trainings:
    """What a figure of the registry shows."""
    shown: Trainings = import_module(f"{FIGURES[name].package}.page").TRAININGS
    return shown


def planned(name: str, *, quick: bool) -> Plan:
    texts = {} if quick else OTHER_TEXTS.get(name, TEXTS)
    return plan(trainings(name), quick=quick, texts=texts, runs=Path("runs"))


def families() -> dict[str, list[str]]:
    """Recipes that one figure compares, by what they begin with and how much they score."""
    found: dict[str, list[str]] = {}
    for name, one in recipes().items():
        if one.init_from is not None:
            size = f", {one.scored_tokens}" if one.task == "language-modeling" else ""
            found.setdefault(f"{one.init_from}{size}", []).append(name)
    return found


@pytest.mark.parametrize("names", families().values(), ids=families())
def test_the_same_tokens_steps_and_tokenizer(names: list[str]) -> None:
    assert len(names) >= 4
    known = [recipes()[name] for name in names]
    for field in ("steps", "batch_size", "seed", "tokenizer", "text", "learning_rate", "backbone"):
        assert len({getattr(one, field) for one in known}) == 1, field
    assert known[0].init_from is not None
    start = recipes()[known[0].init_from]
    assert (start.backbone, start.tokenizer, start.seed) == (
        known[0].backbone,
        known[0].tokenizer,
        known[0].seed,
    )
    if known[0].task == "language-modeling":
        assert len({one.scored_tokens for one in known}) == 1
        assert len({one.least_history_tokens for one in known}) == 1
        reads = [one.segments * one.segment_tokens - one.scored_tokens for one in known]
        assert max(reads) <= known[0].least_history_tokens
    else:
        assert len({one.task_options["most_tokens"] for one in known}) == 1


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("figure", TRAINED)
def test_plans(figure: str, quick: bool) -> None:
    wanted = planned(figure, quick=quick)
    assert wanted.read.keys() == wanted.history_tokens.keys()
    order = list(wanted.recipes)
    begun_with = set()
    for name, one in wanted.recipes.items():
        if one.init_from is not None:
            first = Path(one.init_from).parent.name
            begun_with.add(first)
            assert order.index(first) < order.index(name)
    assert wanted.read.keys() == wanted.recipes.keys() - begun_with
    for name, segments in wanted.read.items():
        one, history = wanted.recipes[name], wanted.history_tokens[name]
        assert (history is None) == (one.task == "lemma-proof")
        needed = max(segments) * one.segment_tokens - one.scored_tokens
        assert history is None or history >= needed
    seeds = {one.seed for one in wanted.recipes.values()}
    assert seeds == ({0} if quick else set(SEEDS))
    assert quick or {one.text for one in wanted.recipes.values()} <= set("LDP")


def test_the_baseline_of_the_same_input_size() -> None:
    found = recipes()
    for size in (128, 512):
        base, rmt = found[f"latex-{size}-context-16-0"], found[f"latex-{size}-rmt-2-mixing-0"]
        assert base.segment_size == rmt.segment_size == size
        assert base.scored_tokens == rmt.scored_tokens == size - 16


@pytest.mark.parametrize(("name", "trained"), [("lean", (2, 4, 6)), ("quick-lemma", (2, 3))])
def test_proofs_without_memory_see_as_many_targets(name: str, trained: tuple[int, ...]) -> None:
    found = recipes()
    for many in trained:
        rmt, plain = found[f"{name}-rmt-{many}-0"], found[f"{name}-apart-{many}-0"]
        assert (rmt.segments, plain.memory_tokens) == (many, 0)
        assert plain.segment_size == rmt.segment_tokens
        # Nothing else differs: the same stages, the same draws, the same theorems.
        alike = replace(rmt, memory_tokens=0, segment_size=plain.segment_size)
        assert plain == alike
    beside, two = found[f"{name}-beside-0"], found[f"{name}-rmt-2-0"]
    assert (beside.segments, beside.memory_tokens) == (1, 0)
    assert beside.segment_tokens == 2 * two.segment_tokens
    assert beside.scored_tokens_of(1) == two.scored_tokens_of(2)


@pytest.mark.parametrize("name", ["adapt", "quick-adapt"])
def test_two_segments_are_trained_in_every_step(name: str) -> None:
    found = [one for key, one in recipes().items() if key.startswith(f"{name}-")]
    longer = [one for one in found if one.segments == 2]
    assert len({one.lora_rank for one in longer}) == 2
    assert {one.start_segments for one in longer} == {2}


def test_what_was_trained_is_read() -> None:
    """And four times as much, up to 32: else no claim about reading on could be told."""
    for figure in ("figure-7", "figure-8", "figure-12"):
        for quick in (False, True):
            wanted = planned(figure, quick=quick)
            for name, segments in wanted.read.items():
                one = wanted.recipes[name]
                if one.memory_tokens:
                    assert {one.segments, min(4 * one.segments, 32), 32} <= set(segments), name


def test_what_a_plan_refuses() -> None:
    shown = trainings("figure-7")
    for name in ("tex", "lean"):  # of no figure, and of another
        with pytest.raises(BadInput, match=f"--text '{name}=L': expected latex=SOURCE$"):
            plan(shown, quick=False, texts={name: "L"}, runs=Path("runs"))
    with pytest.raises(BadInput, match="--quick: expected neither --text nor other --seeds"):
        plan(shown, quick=True, texts={}, runs=Path("runs"), seeds=(1,))
    with pytest.raises(BadInput, match="no text in the place of 'latex': expected --text latex="):
        plan(shown, quick=False, texts={}, runs=Path("runs"))
    with pytest.raises(BadInput, match="seed 9: expected"):
        plan(shown, quick=False, texts=TEXTS, runs=Path("runs"), seeds=(9,))
