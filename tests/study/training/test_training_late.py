"""Burn-ins whose last facts stand where there is a gradient, and that are read with a dead band."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation.rmt_answers import trained_as
from rmtscale.study.figures.babilong.recipes import recipes
from rmtscale.study.tasks.babi import pool
from rmtscale.study.training.layout import BEST, SETTINGS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks import objective
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.rolling import Roller
from rmtscale.study.training.settings_file import read_settings
from tests.command_line import Command
from tests.grids import THOROUGH
from tests.tiny_training import demand_both_ends, tiny_settings, write_background

CPU = torch.device("cpu")
BAND = 0.25
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_background(tmp_path_factory.mktemp("text")))


@pytest.fixture
def few_stories(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    yield
    pool.load_pool.cache_clear()


def stories(background: str, **more: Any) -> MemoryTaskSettings:
    usual: dict[str, Any] = {"burn_in": (12,), "burn_in_share": 1.0, "batch_size": 6}
    return replace(
        recipes(background)["quick-babilong-qa1-0"],
        task_options={"stories": "qa2", "ask_state": True},
        closing_questions=5,
        between_share=1.0,
        replay_lost=False,
        **(usual | more),
    )


def burnt(made: MemoryObjective, count: int = 16) -> list[Batch]:
    last = len(made.stages) - 1
    return [one for one in (made.batch(step, last) for step in range(count)) if one.constant]


@pytest.fixture
def rollers(monkeypatch: pytest.MonkeyPatch) -> list[Roller]:
    """Those that objectives make from here on."""
    made: list[Roller] = []

    class Kept(Roller):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            made.append(self)

    monkeypatch.setattr(objective, "Roller", Kept)
    return made


def fact_columns(made: MemoryObjective, batch: Batch) -> list[list[int]]:
    """Finds the facts of each sample: noise has no word of theirs, and no fragments of them."""
    vocabulary = made.data.vocabulary
    facts = {tuple(vocabulary.array(one).tolist()) for one in made.data.task.all_facts()}
    sizes = sorted({len(one) for one in facts}, reverse=True)
    found = []
    for row in batch.inputs[0].tolist():
        own, at = [], 0
        while at < len(row):
            size = next((size for size in sizes if tuple(row[at : at + size]) in facts), 0)
            own += [at] * bool(size)
            at += size or 1
        found.append(own)
    return found


def test_the_last_facts_are_where_the_gradient_is(background: str, few_stories: None) -> None:
    """As many late as the setting says, each number; without it hardly any in a long burn-in."""
    more: dict[str, Any] = {"fact_fragments": 0.0}
    made = MemoryObjective(stories(background, late_facts=2, **more))
    plain = MemoryObjective(stories(background, **more))
    counts: list[int] = []
    for batch in burnt(made, 40):
        assert batch.draw.closing
        begin = batch.constant * made.learner.segment_tokens
        for row in fact_columns(made, batch):
            assert all(one < other for one, other in pairwise(row))
            late = sum(at >= begin for at in row)
            # A story that does not fit into a short burn-in has more of its facts behind.
            if batch.constant >= 4:
                counts.append(late)
    shares = np.bincount(counts, minlength=3) / len(counts)
    assert len(shares) == 3
    assert shares == pytest.approx([1 / 3] * 3, abs=0.12)
    again = made.batch(burnt(made, 16)[0].step, len(made.stages) - 1)
    for one, other in zip(burnt(made, 16)[0].inputs, again.inputs, strict=True):
        assert torch.equal(one, other), "a function of seed and step alone"
    differ = [
        not torch.equal(one.inputs[0], other.inputs[0])
        for one, other in zip(burnt(made), burnt(plain), strict=True)
    ]
    assert any(differ)


def test_nothing_else_is_changed_by_a_bit(background: str, few_stories: None) -> None:
    """Batches without a burn-in and validations are those of before, and so is all with 0."""
    made = MemoryObjective(stories(background, late_facts=3, burn_in_dead_band=BAND))
    plain = MemoryObjective(stories(background))
    for stage in range(len(made.stages) - 1):
        for step in range(3):
            pairs = zip(
                made.batch(step, stage).inputs, plain.batch(step, stage).inputs, strict=True
            )
            assert all(torch.equal(one, other) for one, other in pairs)
    tokens = made.learner.segment_tokens
    for segments in (2, 7):
        first, second = (
            one.data.batches(segments * tokens, tokens, split="validation").batch(0)
            for one in (made, plain)
        )
        assert np.array_equal(first.ids, second.ids)
        assert np.array_equal(first.fact_positions, second.fact_positions)
    off = MemoryObjective(replace(made.settings, late_facts=0))
    for one, other in zip(burnt(off), burnt(plain), strict=True):
        for own, others in zip(one.inputs, other.inputs, strict=True):
            assert torch.equal(own, others)


@pytest.mark.parametrize(
    ("captured", "replay"),
    [
        (captured, replay)
        for captured in (False, True)
        for replay in ("", "question", "segment")
        if THOROUGH or not replay or captured == (replay == "question")
    ],
)
def test_a_burn_in_leaves_the_states_of_an_evaluation_with_that_band(
    background: str, few_stories: None, captured: bool, replay: str, rollers: list[Roller]
) -> None:
    """Those of what ``evaluate --dead-band`` reads with, and of a loop in float64."""
    changes: dict[str, Any] = {"closing_questions": 0, "replay_lost": True} if replay else {}
    changes |= {"replay_asks_segment": True} if replay == "segment" else {}
    settings = replace(stories(background, burn_in_dead_band=BAND), **changes)
    made = MemoryObjective(settings)
    with torch.no_grad():
        for parameter in made.learner.rmt.memory.parameters():
            parameter.mul_(10)  # numbers as large as trained ones
    other = made.ema_copy()
    other.rmt.set_dead_band(BAND)
    evaluation, segment_tokens = Reader(other, CPU), other.segment_tokens
    exact = copy.deepcopy(made.learner.rmt).double().eval()
    made.inputs(burnt(made)[0], CPU)
    (roller,) = rollers
    # A step on fixed buffers, which a GPU captures: here it runs eagerly.
    roller.captures = captured
    held = passed = 0
    for batch in burnt(made, 10):
        ids_BN = batch.inputs[0]
        cut_BN, _, state_BME, *_ = made.inputs(batch, CPU)
        assert made.learner.rmt.config.dead_band == 0, "training has none"
        assert made.learner.training
        bounds = cut(ids_BN.shape[1], segment_tokens)[: batch.constant]
        with torch.no_grad():
            states_RBME = evaluation.states(other.initial(len(ids_BN)), ids_BN.numpy(), bounds)
            slow_BME = exact.initial_state(len(ids_BN))
            for begin, end in bounds:
                new_BME = exact.step(slow_BME, ids_BN[:, begin:end].long())[0]
                still_BME = (new_BME - slow_BME).abs() < BAND
                held, passed = held + int(still_BME.sum()), passed + int((~still_BME).sum())
                slow_BME = torch.where(still_BME, slow_BME, new_BME)
        if replay:
            begun = [
                next(
                    index
                    for index in range(batch.constant, -1, -1)
                    if torch.equal(states_RBME[index, row], state_BME[row])
                )
                for row in range(len(ids_BN))
            ]
            assert all(
                torch.equal(
                    cut_BN[row, :-segment_tokens],
                    ids_BN[row, first * segment_tokens :][: cut_BN.shape[1] - segment_tokens],
                )
                for row, first in enumerate(begun)
            )
            continue
        assert torch.equal(state_BME, states_RBME[-1])
        # A number that is within rounding of the band may be held in one and pass in the other.
        near_BME = (state_BME.double() - slow_BME).abs() < 1e-4
        assert near_BME.double().mean() > 0.99
    assert held > 100
    assert passed > 100
    if captured:
        (step,) = roller.segment_steps.values()
        made.inputs(burnt(made, 10)[0], CPU)
        assert [*roller.segment_steps.values()] == [step], "kept from batch to batch"


@CUDA
def test_a_captured_burn_in_has_the_band(
    background: str, few_stories: None, rollers: list[Roller]
) -> None:
    made = MemoryObjective(stories(background, burn_in_dead_band=BAND))
    device = torch.device("cuda")
    made.learner.to(device)
    other = made.ema_copy()
    other.rmt.set_dead_band(BAND)
    eager = Roller(other, device, cuda_graph=False)
    for batch in burnt(made, 10):
        state_BME = made.inputs(batch, device)[2]
        ids = batch.inputs[0].numpy()
        bounds = cut(ids.shape[1], other.segment_tokens)[: batch.constant]
        wanted_BME = eager.roll(other.initial(len(ids)), ids, bounds)
        assert ((state_BME - wanted_BME).abs() < 1e-4).double().mean() > 0.99
        made.learner.train()(*made.inputs(batch, device))[0].backward()
    (step,) = rollers[0].segment_steps.values()
    assert step.uses_graph


def test_a_burn_in_that_fails_leaves_no_band(
    background: str, few_stories: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MemoryObjective(stories(background, burn_in_dead_band=BAND))
    batch = burnt(made)[0]
    seen: list[float] = []

    def fail(*_: Any) -> None:
        seen.append(made.learner.rmt.config.dead_band)
        raise KeyboardInterrupt

    monkeypatch.setattr(Roller, "states", fail)
    with pytest.raises(KeyboardInterrupt):
        made.inputs(batch, CPU)
    assert seen == [BAND]
    assert made.learner.rmt.config.dead_band == 0


def test_compiled_steps_have_the_band_of_their_own_time(background: str, few_stories: None) -> None:
    """Burn-ins are read with a band, training and validations without, by the same code: what was
    compiled for one of them is not run for another."""
    made = MemoryObjective(stories(background))
    learner = made.learner
    validated = made.ema_copy().eval()
    state_BME = 10 * learner.initial(3).detach()
    ids_BL = torch.randint(5, 60, (3, learner.segment_tokens))
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    backend: Any = count
    compiled: dict[Any, Any] = {
        model: torch.compile(model.step, dynamic=False, backend=backend)
        for model in (learner, validated)
    }
    for _ in range(2):
        before = len(graphs)
        for model, band in (
            *((learner, BAND), (validated, 0.0), (learner, 0.0), (learner, 2 * BAND)),
            *((learner, BAND), (validated, 0.0)),
        ):
            learner.train(model is learner and not band)
            with model.rmt.with_dead_band(band), torch.no_grad():
                found = compiled[model](state_BME, ids_BL)[0]
                wanted = model.step(state_BME, ids_BL)[0]
            torch.testing.assert_close(found, wanted)
            assert bool((found == state_BME).any()) == bool(band)
    assert len(graphs) == before > 1, "compiled for each of them, and once"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"late_facts": -1}, r"late facts -1: expected 0 or more"),
        ({"late_facts": 2, "burn_in": ()}, r"late facts 2 without burn-in: expected 0, all facts"),
        ({"burn_in_dead_band": -0.1}, r"burn-in dead band -0\.1: expected a number of 0 or more"),
        ({"burn_in_dead_band": float("inf")}, r"burn-in dead band inf: expected a number of 0"),
        ({"burn_in_dead_band": 0.3, "burn_in": ()}, r"burn-in dead band 0\.3 without burn-in"),
        (
            {"burn_in_dead_band": 0.3, "memory_tokens": 0},
            r"burn-in dead band 0\.3 without memory tokens: expected 0",
        ),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        replace(recipes("python")["quick-babilong-qa1-0"], **values)


@pytest.mark.parametrize("task", ["memorize", "detect-memorize", "reasoning"])
def test_tasks_without_an_order_are_refused(background: str, task: str) -> None:
    settings = tiny_settings(Path(background), task=task, late_facts=1, segment_size=64)
    with pytest.raises(BadInput, match=f"late facts 1 of task '{task}': expected 0, its facts"):
        MemoryObjective(settings)


def test_a_training_that_stops_goes_on_alike(
    background: str, few_stories: None, tmp_path: Path
) -> None:
    """Both settings travel in the file, hold when it goes on, and leave no band in a checkpoint."""
    short: dict[str, Any] = {"burn_in": (2,), "bare_tokens": (), "start_tokens": (), "segments": 2}
    short |= {"stage_min_steps": 1, "stage_max_steps": 1, "log_every": 1, "validate_every": 4}
    short |= {"validation_samples": 6, "validation_segments": (2,), "keep_stages": False}
    settings = stories(background, late_facts=2, burn_in_dead_band=BAND, steps=8, **short)
    whole, part = demand_both_ends(settings, tmp_path)
    with pytest.raises(BadInput, match="late facts 0: the training in"):
        train(replace(settings, late_facts=0), part, device="cpu")
    one, other = (load_checkpoint(folder / BEST) for folder in (whole, part))
    for own, others in zip(
        one.answerer.rmt.parameters(), other.answerer.rmt.parameters(), strict=True
    ):
        assert torch.equal(own, others)
    assert one.answerer.rmt.config.dead_band == 0
    noted = trained_as(one)
    assert (noted.late_facts, noted.burn_in_dead_band) == (2, BAND)
    # Files of before have neither, and mean none.
    mapping = json.loads((whole / SETTINGS).read_text())
    assert (mapping.pop("late_facts"), mapping.pop("burn_in_dead_band")) == (2, BAND)
    (whole / SETTINGS).write_text(json.dumps(mapping))
    assert read_settings(whole / SETTINGS) == replace(settings, late_facts=0, burn_in_dead_band=0.0)


def test_the_command_takes_them(
    rmtscale: Command, background: str, few_stories: None, tmp_path: Path
) -> None:
    given = ["train", "--recipe", "quick-babilong-qa1-0", "--background", background]
    given += ["--out", str(tmp_path / "run"), "--device", "cpu"]
    for values, said in (
        (["late_facts=1.5"], "late_facts"),
        (["late_facts=2", "burn_in=[]"], "late facts 2 without burn-in: expected 0, all"),
        (["burn_in_dead_band=-1"], "burn-in dead band -1"),
    ):
        done = rmtscale(*given, *(word for value in values for word in ("--set", value)))
        assert done.code == 2
        assert said in done.err
    small = ["--steps", "2", "--set", "log_every=2", "--set", "validate_every=2"]
    small += ["--set", "validation_samples=2", "--set", "stage_min_steps=1"]
    given += ["--set", "late_facts=2", "--set", "burn_in_dead_band=0.6", *small]
    assert rmtscale(*given).code == 0
    stored = read_settings(tmp_path / "run" / SETTINGS)
    assert isinstance(stored, MemoryTaskSettings)
    assert (stored.late_facts, stored.burn_in_dead_band) == (2, 0.6)
