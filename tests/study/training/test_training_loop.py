"""A training goes on after a kill to the very same losses, learns, and keeps what it says."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.study.training.checkpoint import weights_digest
from rmtscale.study.training.keeping import Keeper, ema_decay_at
from rmtscale.study.training.layout import BEST, LAST, METRICS, SETTINGS, STAGES, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.train_state import TrainState
from tests.forked import fork
from tests.tiny_training import tiny_settings, write_background


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def whole(background: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = train(tiny_settings(background), folder, device="cpu")
    assert (result.finished, result.step) == (True, 32)
    return folder


def outcomes(folder: Path) -> list[tuple[object, ...]]:
    return [one.outcome() for one in read_metrics(folder / METRICS)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder).answerer.named_parameters())


def assert_same(folder: Path, whole: Path) -> None:
    assert outcomes(folder) == outcomes(whole)
    for name in (BEST, LAST):
        ours, theirs = weights(folder / name), weights(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_all_stages_were_passed(whole: Path) -> None:
    seen = list(dict.fromkeys(one.stage_name for one in read_metrics(whole / METRICS)))
    assert seen == ["16 tokens", "1 segment", "2 segments", "2 segments, burn-in 4"]
    assert sorted(path.name for path in (whole / STAGES).iterdir()) == ["segments-1", "segments-2"]
    validated = [one for one in read_metrics(whole / METRICS) if one.validation]
    assert [one.step for one in validated] == [8, 16, 24, 32]
    assert validated[-1].validation is not None
    assert set(validated[-1].validation) == {"2", "4"}


def test_metrics_say_what_was_read(whole: Path) -> None:
    first = read_metrics(whole / METRICS)[0]
    assert first.tokens == 4 * 16 * 16
    assert first.tokens_per_second == pytest.approx(first.tokens / first.seconds)
    assert 0 <= first.waiting_share <= 1


def train_keeping_all(background: Path, folder: Path) -> None:
    """A state is kept at every interval."""
    torch.set_num_threads(1)
    train(tiny_settings(background), folder, device="cpu", save_seconds=0.0)


@pytest.mark.parametrize("after_step", [4, 28])
def test_a_killed_training_ends_with_the_same_losses(
    background: Path, whole: Path, tmp_path: Path, after_step: int
) -> None:
    folder = tmp_path / "run"
    process = fork(train_keeping_all, background, folder)
    try:
        metrics = folder / METRICS
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.is_alive():
            if metrics.is_file() and metrics.read_text().count("\n") >= after_step // 4:
                break
            time.sleep(0.002)
    finally:
        process.kill()
        process.join()
    killed_at = len(read_metrics(metrics))
    assert after_step // 4 <= killed_at <= 8
    assert train(tiny_settings(background), folder, device="cpu").finished
    assert_same(folder, whole)


def test_stopping_by_the_clock_changes_nothing(
    background: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    calls = 0
    while not train(tiny_settings(background), folder, device="cpu", max_seconds=0.0).finished:
        calls += 1
    assert calls == 7
    assert_same(folder, whole)


def test_a_torn_line_of_metrics_is_written_again(
    background: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(tiny_settings(background), folder, device="cpu", max_seconds=0.0)
    with (folder / METRICS).open("a") as file:
        file.write('{"schema_version":1,"step":8,"st')
    train(tiny_settings(background), folder, device="cpu")
    assert_same(folder, whole)


def test_a_finished_training_is_left_alone(background: Path, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / BEST).iterdir()}
    seen = outcomes(whole)
    assert train(tiny_settings(background), whole, device="cpu").finished
    assert outcomes(whole) == seen
    assert {path: path.stat().st_mtime_ns for path in (whole / BEST).iterdir()} == before


def test_the_end_may_be_moved(background: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny_settings(background), folder, device="cpu", max_seconds=0.0)
    longer = tiny_settings(background, steps=8)
    assert train(longer, folder, device="cpu").step == 8


def test_another_training_in_the_folder(background: Path, whole: Path) -> None:
    with pytest.raises(BadInput, match=r"memory tokens 3: the training in '.*' has 2"):
        train(tiny_settings(background, memory_tokens=3), whole, device="cpu")


def test_a_damaged_state(background: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / SETTINGS).write_text(tiny_settings(background).to_json())
    (folder / STATE).write_bytes((whole / STATE).read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"state '.*state.safetensors'"):
        train(tiny_settings(background), folder, device="cpu")


def test_memorize_is_learned(background: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        background,
        steps=200,
        stage_min_steps=10,
        stage_max_steps=100,
        log_every=10,
        validate_every=200,
        validation_samples=128,
        ema_decay=0.98,
    )
    result = train(settings, tmp_path, device="cpu")
    assert result.best_score is not None
    assert result.best_score > 0.9
    last = read_metrics(tmp_path / METRICS)[-1]
    assert last.stage_name == "2 segments, burn-in 4"
    assert last.validation is not None
    assert last.validation["4"] > 0.8


def test_ema_weights_follow_the_formula(background: Path, tmp_path: Path) -> None:
    """Weights after each step, averaged by hand, are those of the checkpoint."""
    settings = tiny_settings(background, steps=4, validate_every=4)
    seen: list[list[torch.Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        seen.append([parameter.detach().clone() for parameter in group["params"]])

    before = register_optimizer_step_pre_hook(lambda *given: note(*given) if not seen else None)
    after = register_optimizer_step_post_hook(note)
    try:
        train(settings, tmp_path, device="cpu")
    finally:
        before.remove()
        after.remove()
    expected, *steps = seen
    assert len(steps) == 4
    for step, each in enumerate(steps):
        decay = min(0.9, (1 + step) / (10 + step))
        assert ema_decay_at(settings, step) == decay
        pairs = zip(expected, each, strict=True)
        expected = [decay * mean + (1 - decay) * new for mean, new in pairs]
    for kept, value in zip(weights(tmp_path / LAST).values(), expected, strict=True):
        torch.testing.assert_close(kept, value, rtol=2e-3, atol=1e-4)  # half precision


def test_a_loss_that_is_not_finite(background: Path, tmp_path: Path) -> None:
    settings = tiny_settings(background, learning_rate=1e30, warmup_steps=0, clip_norm=1e30)
    with pytest.raises(CheckFailed, match="loss is not finite between steps"):
        train(settings, tmp_path, device="cpu")


def test_a_checkpoint_says_what_it_is(background: Path, whole: Path) -> None:
    meaning = json.loads((whole / BEST / "task.json").read_text())
    assert meaning["settings"]["background"] == background.name
    assert meaning["trained"]["segments"] == 2
    assert str(background.parent) not in (whole / BEST / "task.json").read_text()
    files = {path.name for path in (whole / BEST).iterdir()}
    assert {"config.json", "model.safetensors", "task.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]


def test_the_checkpoints_of_the_recipes_are_small(background: Path, tmp_path: Path) -> None:
    from rmtscale.study.figures.memory_tasks.recipes import recipes
    from rmtscale.study.tasks.vocabulary import SPECIALS, Vocabulary
    from rmtscale.study.training.checkpoint import Trained
    from rmtscale.study.training.memory_tasks.backbone import build_rmt
    from rmtscale.study.training.memory_tasks.checkpoint import export_checkpoint
    from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
    from rmtscale.study.training.memory_tasks.model import Answerer

    settings = recipes(str(background))["reasoning-0"]
    words = [*SPECIALS, *TaskData(settings).task.words()]
    words += [f"word{index}" for index in range(settings.vocabulary_words - len(words))]
    data = TaskData(settings, Vocabulary(words))
    answerer = Answerer(build_rmt(settings, len(words), 6), class_ids(data))
    export_checkpoint(
        tmp_path / "x", answerer, settings, data, Trained(step=0, stage="", segments=7)
    )
    assert sum(file.stat().st_size for file in (tmp_path / "x").iterdir()) <= 4_000_000
    kept = weights(tmp_path / "x")
    for name, parameter in answerer.named_parameters():
        assert parameter.dtype == torch.float32
        torch.testing.assert_close(kept[name], parameter, rtol=1e-3, atol=1e-6)


def test_a_training_may_begin_with_a_checkpoint(
    background: Path, whole: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(background, init_from=str(whole / LAST), steps=4, learning_rate=1e-12)
    train(settings, tmp_path, device="cpu")
    ours, theirs = weights(tmp_path / LAST), weights(whole / LAST)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
    before, trained = (load_checkpoint(one / LAST).trained for one in (whole, tmp_path))
    assert (trained.step, trained.steps_before) == (4, before.step)
    assert trained.all_steps == before.step + 4
    assert (before.weights_before, trained.weights_before) == ("", weights_digest(whole / LAST))
    train(replace(settings, init_from=str(tmp_path / LAST)), tmp_path / "third", device="cpu")
    third = load_checkpoint(tmp_path / "third" / LAST)
    assert third.trained.all_steps == before.step + 8
    # What the weights were trained with is noted of every training, and once of one that goes on.
    first, second = (learned(load_checkpoint(one / LAST).settings) for one in (whole, tmp_path))
    assert first != second
    assert trained.learned_before == (first,)
    assert third.trained_with == (first, second)
    with pytest.raises(BadInput, match="its backbone has other sizes, expected those of gpt2-tiny"):
        train(replace(settings, backbone="gpt2-tiny"), tmp_path / "other", device="cpu")
    # As many words, but other ones: the same ids would mean other words.
    words = tmp_path / "words"
    words.mkdir()
    for file in background.iterdir():
        text = re.sub(r"\bw(\d+)", r"v\1", file.read_text(encoding="utf-8"))
        (words / file.name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="its vocabulary is another, expected the same --background"):
        train(replace(settings, background=str(words)), tmp_path / "other", device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("task.json", "{", "is not JSON"),
        ("task.json", '{"format_version": 9}', "of version 9, expected 1"),
        ("task.json", None, "expected a folder with task.json"),
        ("config.json", "[]", "expected that of an RMT"),
    ],
)
def test_other_folders_are_no_checkpoints(
    whole: Path, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    for path in (whole / BEST).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=words):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_task(whole: Path) -> None:
    with pytest.raises(BadInput, match="is of the task 'memorize': expected reasoning"):
        load_checkpoint(whole / BEST, "reasoning")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"task": "forget"}, "task 'forget': expected one of memorize"),
        ({"task_options": {"colour": 1}}, "option colour=1 of task 'memorize'"),
        ({"task_options": {"split": "validation"}}, "task option 'split'"),
        ({"segment_size": 12}, "segment size 12 leaves 8 tokens of text: expected"),
        ({"backbone": "/nowhere/model"}, "tokenizer '/nowhere/model'"),
        ({"background": "/nowhere/text"}, "text '/nowhere/text'"),
        ({"noise_repeats": False, "segments": 10**5, "start_tokens": ()}, "noise of .* without"),
    ],
)
def test_what_cannot_be_trained(
    background: Path, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    values = {"curriculum": False, "burn_in": (), "background": str(background), **more}
    settings = tiny_settings(Path(values.pop("background")), **values)
    with pytest.raises(BadInput, match=words):
        train(settings, tmp_path, device="cpu")


def test_a_gpu_that_is_not_there(background: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(BadInput, match="device 'cuda': no GPU that torch can use"):
        train(tiny_settings(background), tmp_path, device="cuda")


@pytest.fixture(scope="module")
def stageless(background: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that keeps nothing of its stages."""
    folder = tmp_path_factory.mktemp("stageless")
    train(replace(in_stages(background), keep_stages=False), folder, device="cpu")
    return folder


def in_stages(background: Path) -> MemoryTaskSettings:
    return tiny_settings(background, stage_min_steps=5, stage_max_steps=10)


@pytest.mark.parametrize("late", [0, 1])
def test_a_stage_keeps_the_weights_that_do_better(
    background: Path,
    stageless: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: int,
) -> None:
    """EMA weights, or the last; either way the training goes on as it was."""
    settings = in_stages(background)
    asked, before = [], {}

    def validate(self: Keeper, stage: int) -> dict[str, float]:
        asked.append({name: p.clone() for name, p in self.ema.named_parameters()})
        return {"1": float(len(asked) % 2 == late)}

    original = Keeper.keep_stage

    def keep(self: Keeper, facts: TrainState, stage: int) -> None:
        before[stage] = {name: p.clone() for name, p in self.plain.named_parameters()}
        asked.clear()
        original(self, facts, stage)

    monkeypatch.setattr(Keeper, "validate", validate)
    monkeypatch.setattr(Keeper, "keep_stage", keep)
    train(settings, tmp_path / "kept", device="cpu")
    ema, latest = asked
    last = before[max(before)]
    assert all(torch.equal(latest[name], last[name]) for name in last)
    assert any(not torch.equal(latest[name], ema[name]) for name in last)
    stage = tmp_path / "kept" / "stages" / "segments-1"
    assert json.loads((stage / "task.json").read_text())["trained"]["ema"] is bool(late)
    found, wanted = (read_metrics(one / METRICS) for one in (tmp_path / "kept", stageless))
    assert [one.loss for one in found] == [one.loss for one in wanted]
