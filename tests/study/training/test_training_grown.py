"""Trainings that begin with a checkpoint of fewer memory tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.training.beginning import take_backbone, take_memory
from rmtscale.study.training.checkpoint import Trained, weights_digest
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.language.objective import LanguageObjective
from rmtscale.study.training.layout import BEST, LAST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import export_checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.command_line import Command
from tests.tiny_text import tiny_text_settings
from tests.tiny_training import demand_both_ends, tiny_settings, write_background

CPU = torch.device("cpu")
QA4 = Path(__file__).parents[3] / "reports/babilong/checkpoints/qa4"
TINY = ("gpt-neox-tiny", "gpt2-tiny", "gpt-neo-tiny", "modernbert-tiny", "bert-tiny")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("noise"))


def write_untrained(settings: MemoryTaskSettings, folder: Path) -> Path:
    """A checkpoint of weights as they were drawn with another seed."""
    data = TaskData(settings)
    words = data.vocabulary
    drawn = replace(settings, seed=7)
    rmt = build_rmt(drawn, len(words), len(data.task.classes), (words.cls_id, words.sep_id))
    answerer = Answerer(rmt, class_ids(data))
    export_checkpoint(folder, answerer, settings, data, Trained(step=5, stage="", segments=2))
    return folder


@pytest.fixture(scope="module")
def start(background: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two memory tokens."""
    return write_untrained(tiny_settings(background), tmp_path_factory.mktemp("start") / LAST)


def rmt_of(folder: Path) -> Any:
    return load_checkpoint(folder).answerer.rmt


@pytest.mark.parametrize("backbone", TINY)
def test_of_every_backbone_all_weights_are_kept(
    background: Path, tmp_path: Path, backbone: str
) -> None:
    settings = tiny_settings(background, backbone=backbone, steps=4)
    old = write_untrained(settings, tmp_path / "old")
    more = replace(settings, init_from=str(old), memory_tokens=5)
    kept, begun = rmt_of(old), MemoryObjective(more).learner.rmt
    weights = begun.backbone.state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in kept.backbone.state_dict().items())
    assert begun.memory.initial_ME is not None
    assert begun.memory.initial_ME.shape == (5, 64)
    assert torch.equal(begun.memory.initial_ME[:2], kept.memory.initial_ME)
    # The others are those of a training from random initialisation: a function of the seed.
    data = TaskData(more)
    anew = build_rmt(more, len(data.vocabulary), len(data.task.classes), (2, 3))
    assert anew.memory.initial_ME is not None
    assert torch.equal(begun.memory.initial_ME[2:], anew.memory.initial_ME[2:])
    train(more, tmp_path / "run", device="cpu")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    store = EvaluationStore(tmp_path / "records.jsonl")
    asked = EvaluationSettings(segments=(3,), samples=16, batch_size=16, background=str(background))
    (record,) = evaluate(checkpoint, asked, store, device=CPU)
    assert record.trained_backbone is not None
    assert record.trained_backbone.memory_tokens == 5


def test_a_checkpoint_notes_both_numbers(background: Path, start: Path, tmp_path: Path) -> None:
    settings = tiny_settings(background, init_from=str(start), memory_tokens=6, steps=4)
    train(settings, tmp_path, device="cpu")
    checkpoint = load_checkpoint(tmp_path / LAST)
    assert [one.get("memory_tokens") for one in checkpoint.trained_with] == [2, 6]
    assert checkpoint.trained_with == (
        learned(load_checkpoint(start).settings),
        learned(checkpoint.settings),
    )
    trained = checkpoint.trained
    assert (trained.step, trained.steps_before) == (4, 5)
    assert trained.weights_before == weights_digest(start)
    assert checkpoint.answerer.rmt.config.memory_tokens == 6


def test_it_goes_on_after_a_stop(background: Path, start: Path, tmp_path: Path) -> None:
    settings = tiny_settings(background, init_from=str(start), memory_tokens=3, steps=8)
    whole, part = demand_both_ends(settings, tmp_path)
    for name in (BEST, LAST):
        ours, theirs = (rmt_of(folder / name).state_dict() for folder in (part, whole))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory_tokens": 1}, r"memory tokens 1 with init from '.*', which has 2: expected 2 or"),
        ({"memory_tokens": 0}, r"memory tokens 0 with init from '.*', which has 2: expected 2 or"),
        (
            {"memory_tokens": 3, "sink_tokens": 1},
            r"sink tokens 1 with init from '.*': expected 0, as it has among its 2 memory tokens, "
            "where 3 are asked for",
        ),
        (
            {"memory_tokens": 3, "backbone": "gpt2-tiny"},
            "its backbone has other sizes, expected those of gpt2-tiny",
        ),
        (
            {"memory_tokens": 3, "vocabulary_words": 60},
            "its backbone has other sizes, expected those of gpt-neox-tiny",
        ),
    ],
)
def test_what_is_refused(
    background: Path, start: Path, given: dict[str, Any], message: str
) -> None:
    settings = tiny_settings(background, init_from=str(start), segments=1, burn_in=())
    with pytest.raises(BadInput, match=message):
        MemoryObjective(replace(settings, **given))


def test_sinks_stay_sinks(background: Path, tmp_path: Path) -> None:
    settings = tiny_settings(background, sink_tokens=1)
    old = write_untrained(settings, tmp_path / "old")
    more = replace(settings, init_from=str(old), memory_tokens=4)
    begun = MemoryObjective(more).learner.rmt
    assert begun.memory.initial_ME is not None
    assert begun.config.sink_tokens == 1
    assert torch.equal(begun.memory.initial_ME[:2], rmt_of(old).memory.initial_ME)
    with pytest.raises(BadInput, match=r"sink tokens 0 .*: expected 1, as it has among its 2"):
        MemoryObjective(replace(more, sink_tokens=0))


def test_by_options(rmtscale: Command, background: Path, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ["train", "--background", str(background), "--init-from", str(start), "--out", str(out)]
    given += ["--backbone", "gpt-neox-tiny", "--segment-size", "32", "--segments", "2"]
    given += ["--steps", "2", "--batch-size", "4", "--burn-in", "none", "--device", "cpu"]
    for more in ("vocabulary_words=120", "log_every=1", "validate_every=1", "precision=fp32"):
        given += ["--set", more]
    given += ["--set", "validation_samples=4"]
    refused = rmtscale(*given, "--set", "memory_tokens=1")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "error: memory tokens 1 with init from" in refused.err
    assert "which has 2: expected 2 or more" in refused.err
    done = rmtscale(*given, "--set", "memory_tokens=4")
    assert done.code == 0, done.err
    shown = rmtscale(
        *("evaluate", str(out / LAST), "--segments", "2", "--samples", "4"),
        *("--background", str(background)),
    )
    assert shown.code == 0, shown.err


def test_of_text(text: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    settings = tiny_text_settings(text, segments=1, steps=8, stage_steps=4)
    train(settings, tmp_path / "old", device="cpu", cache=cache)
    begun = replace(settings, init_from=str(tmp_path / "old" / LAST), block_tokens=None)
    kept: Any = load_language_checkpoint(tmp_path / "old" / LAST).predictor.rmt

    def memory_of(count: int) -> torch.Tensor | None:
        more = replace(begun, memory_tokens=count)
        objective = LanguageObjective(more, cache)
        initial_ME: torch.Tensor | None = objective.learner.rmt.memory.initial_ME
        return initial_ME

    grown_ME = memory_of(4)
    assert grown_ME is not None
    assert torch.equal(grown_ME[:2], kept.memory.initial_ME)
    assert grown_ME[2:].std() > 0
    same_ME = memory_of(2)
    assert same_ME is not None
    assert torch.equal(same_ME, kept.memory.initial_ME)
    # Without memory it is the backbone alone that goes on.
    assert memory_of(0) is None
    with pytest.raises(BadInput, match=r"memory tokens 1 with init from .* has 2: expected 2 or"):
        memory_of(1)


@torch.no_grad()
def test_a_trained_model_begins_with_its_answers(background: Path) -> None:
    """The committed qa4 with twice the memory, before any step, reads four segments as before."""
    kept = load_checkpoint(QA4)
    more = replace(kept.settings, memory_tokens=16, background=str(background), batch_size=16)
    data = TaskData(more, kept.data.vocabulary)
    words, classes = kept.data.vocabulary, class_ids(kept.data)
    grown = build_rmt(more, len(words), len(classes), (words.cls_id, words.sep_id))
    take_backbone(grown.backbone, kept.answerer.rmt, more)
    take_memory(grown, kept.answerer.rmt, more)
    begun, before = Reader(Answerer(grown, classes), CPU), Reader(kept.answerer, CPU)
    segment_tokens = grown.segment_tokens
    batch = data.batches(4 * segment_tokens, segment_tokens, split="validation").batch(0)
    one_BC = before.logits(batch.ids).double().log_softmax(1)
    other_BC = begun.logits(batch.ids).double().log_softmax(1)
    right = int((one_BC.argmax(1) == torch.from_numpy(batch.answers)).sum())
    same = int((one_BC.argmax(1) == other_BC.argmax(1)).sum())
    assert min(right, same) >= 15
    assert (one_BC.exp() * (one_BC - other_BC)).sum(1).mean() < 0.05
