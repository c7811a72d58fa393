"""Training on text: the same targets for all, resumable, adapted, checkpoints that are whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt.cross_entropy import IGNORED
from rmtscale.study.training.curriculum import Progress
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.language.curriculum import advance_text, draw_text, plan_text_stages
from rmtscale.study.training.language.flops import sample_flops
from rmtscale.study.training.language.objective import LanguageObjective
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import BEST, LAST, METRICS, STAGES
from rmtscale.study.training.loop import train
from rmtscale.study.training.metrics import read_metrics
from tests.tiny_text import tiny_text_settings


@pytest.fixture(scope="module")
def whole(text: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = train(tiny_text_settings(text), folder, device="cpu", cache=cache)
    assert (result.finished, result.step, result.measure) == (True, 24, "loss")
    return folder


def outcomes(folder: Path) -> list[tuple[object, ...]]:
    return [one.outcome() for one in read_metrics(folder / METRICS)]


def scored(settings: LanguageSettings, cache: Path, step: int, current: int) -> np.ndarray:
    """The tokens that count in one step."""
    batch = LanguageObjective(settings, cache).batch(step, current)
    targets = batch.inputs[1][:, -batch.constant :]
    assert (targets != IGNORED).all()
    assert (batch.inputs[1][:, : -batch.constant] == IGNORED).all()
    return targets.numpy()


def test_models_with_and_without_memory_score_the_same_tokens(text: Path, cache: Path) -> None:
    rmt = tiny_text_settings(text)
    without = replace(rmt, memory_tokens=0, segment_size=32 + 16, segments=1, block_tokens=16)
    fixed = replace(rmt, mixing=False)
    for step in range(3):
        wanted = scored(rmt, cache, step, 0)
        assert wanted.shape == (8, 16)
        assert np.array_equal(scored(rmt, cache, step, 1), wanted)
        assert np.array_equal(scored(without, cache, step, 0), wanted)
        assert np.array_equal(scored(fixed, cache, step, 1), wanted)
    assert not np.array_equal(scored(rmt, cache, 3, 0), wanted)


def test_stages(text: Path) -> None:
    settings = tiny_text_settings(text, segments=3)
    stages = plan_text_stages(settings)
    assert [(one.name, one.tokens) for one in stages] == [
        ("1 segment", 16),
        ("2 segments", 32),
        ("3 segments", 48),
    ]
    mixed = [draw_text(settings, stages, 2, step).stage for step in range(300)]
    assert {mixed.count(one) > 60 for one in range(3)} == {True}
    fixed = replace(settings, mixing=False)
    assert {draw_text(fixed, stages, 2, step).stage for step in range(50)} == {2}
    assert advance_text(settings, Progress(0, 4), stages, 4) == Progress(1, 0)
    assert advance_text(settings, Progress(0, 0), stages, 4) == Progress(0, 4)
    assert advance_text(settings, Progress(2, 100), stages, 4) == Progress(2, 104)
    assert len(plan_text_stages(replace(settings, curriculum=False))) == 1
    assert len(plan_text_stages(replace(settings, start_segments=2))) == 2


def test_metrics_say_loss_tokens_and_flops(whole: Path, text: Path, cache: Path) -> None:
    seen = read_metrics(whole / METRICS)
    assert [one.stage for one in seen] == [0, 0, 1, 1, 1, 1]
    assert seen[0].accuracy is None
    assert seen[0].tokens == 4 * 8 * 16
    settings = tiny_text_settings(text)
    rmt = LanguageObjective(settings, cache).learner.rmt
    assert seen[0].flops == 4 * 8 * sample_flops(rmt, settings, 1, "train")
    validated = [one for one in seen if one.validation]
    assert [one.step for one in validated] == [12, 24]
    assert validated[-1].validation is not None
    assert set(validated[-1].validation) == {"2"}
    assert sorted(path.name for path in (whole / STAGES).iterdir()) == ["segments-1", "segments-2"]


def test_the_loss_falls(text: Path, cache: Path, tmp_path: Path) -> None:
    settings = tiny_text_settings(text, steps=120, validate_every=120, log_every=20)
    folder = tmp_path / "run"
    result = train(settings, folder, device="cpu", cache=cache)
    first = read_metrics(folder / METRICS)[0].loss
    assert result.best_score is not None
    assert -result.best_score < first - 0.3
    assert -result.best_score < math.log(320) - 1


def test_going_on_ends_with_the_same_losses(
    text: Path, cache: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    calls = 0
    settings = tiny_text_settings(text)
    while not train(settings, folder, device="cpu", cache=cache, max_seconds=0.0).finished:
        calls += 1
    assert calls == 5
    assert outcomes(folder) == outcomes(whole)
    for name in (BEST, LAST):
        ours = load_language_checkpoint(folder / name).predictor.state_dict()
        theirs = load_language_checkpoint(whole / name).predictor.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_checkpoint_is_whole(whole: Path, text: Path) -> None:
    kept = load_language_checkpoint(whole / LAST)
    assert kept.settings.text == text.name
    assert kept.trained.step == 24
    assert kept.trained.tokens == sum(one.tokens for one in read_metrics(whole / METRICS))
    assert kept.trained.flops == sum(one.flops or 0 for one in read_metrics(whole / METRICS))
    own = sum(one.numel() for one in kept.predictor.parameters())
    assert kept.trained.parameters == kept.trained.trainable_parameters == own
    ids = kept.tokenizer.encode("w1 w2 w3")
    assert kept.tokenizer.decode(ids) == "w1 w2 w3"


def test_another_task_is_refused(whole: Path) -> None:
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

    with pytest.raises(BadInput, match="is of the task 'language-modeling': expected lemma-proof"):
        load_language_checkpoint(whole / LAST, "lemma-proof")
    with pytest.raises(BadInput, match="is of the task 'language-modeling': expected memorize"):
        load_checkpoint(whole / LAST)


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "gpt2-tiny", "gpt-neo-tiny"])
def test_lora_and_adapters_leave_the_backbone_alone(
    text: Path, cache: Path, tmp_path: Path, backbone: str
) -> None:
    # A segment of 20 positions in both, so that a position table fits.
    plain = tiny_text_settings(
        text, backbone=backbone, memory_tokens=0, segments=1, block_tokens=16, steps=4
    )
    train(plain, tmp_path / "plain", device="cpu", cache=cache)
    start = str(tmp_path / "plain" / LAST)
    adapted = tiny_text_settings(
        text,
        backbone=backbone,
        lora_rank=2,
        adapter_width=4,
        init_from=start,
        steps=8,
        stage_steps=4,
    )
    train(adapted, tmp_path / "adapted", device="cpu", cache=cache)
    before = load_language_checkpoint(tmp_path / "plain" / LAST).predictor.rmt.backbone
    kept = load_language_checkpoint(tmp_path / "adapted" / LAST)
    after = dict(kept.predictor.rmt.backbone.named_parameters())
    for name, parameter in before.named_parameters():
        wrapped = name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        assert torch.equal(parameter, after[name if name in after else wrapped]), name
    added = {name: one for name, one in after.items() if "lora_B" in name}
    assert added
    assert all(one.abs().max() > 0 for one in added.values())
    assert kept.trained.trainable_parameters < kept.trained.parameters / 4
    adapters: Any = kept.predictor.rmt.adapters
    assert all(one.up.weight.abs().max() > 0 for one in adapters)


def test_beginning_with_something_else_is_refused(
    text: Path, cache: Path, whole: Path, tmp_path: Path
) -> None:
    start = str(whole / LAST)
    with pytest.raises(BadInput, match="its backbone has other sizes"):
        train(
            tiny_text_settings(text, init_from=start, backbone="gpt-neox-small"),
            tmp_path / "run",
            device="cpu",
            cache=cache,
        )
    with pytest.raises(BadInput, match="it has another tokenizer"):
        train(
            tiny_text_settings(text, init_from=start, vocabulary_size=258),
            tmp_path / "run",
            device="cpu",
            cache=cache,
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"history_tokens": 100_000}, "history tokens 100000"),
        ({"text": "nowhere"}, "'nowhere': expected python"),
        ({"memory_tokens": 0}, "segments 2 without memory: expected 1"),
        ({"backbone": "bert-tiny"}, "backbone 'bert-tiny' .*: expected a decoder"),
        ({"tokenizer": "nothing-here"}, "tokenizer 'nothing-here'"),
        ({"task_options": {"persons": 2}}, "option persons=2 of task 'language-modeling'"),
    ],
)
def test_what_cannot_be_trained(
    text: Path, cache: Path, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    settings = replace(tiny_text_settings(text), **given)
    with pytest.raises(BadInput, match=message):
        train(settings, tmp_path / "run", device="cpu", cache=cache)


def test_another_text_is_not_gone_on_with(text: Path, cache: Path, tmp_path: Path) -> None:
    """Its name and all settings are the same; what it says is not."""
    source = tmp_path / "source"
    source.mkdir()
    for file in text.iterdir():
        (source / file.name).write_text(file.read_text())
    settings = tiny_text_settings(source, tokenizer="latex-4096")
    train(settings, tmp_path / "run", device="cpu", cache=cache, max_seconds=0.0)
    lines = (source / "train.jsonl").read_text().splitlines(keepends=True)
    (source / "train.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(BadInput, match="it was begun with another text or tokenizer"):
        train(settings, tmp_path / "run", device="cpu", cache=cache)


def test_stages_that_leave_nothing_to_the_last_are_refused(text: Path) -> None:
    with pytest.raises(BadInput, match="stage steps 8 of 3 earlier stages: expected them to leave"):
        tiny_text_settings(text, segments=4)
    tiny_text_settings(text, segments=4, curriculum=False)


def test_a_backbone_with_adapters_is_not_begun_with(
    text: Path, cache: Path, tmp_path: Path
) -> None:
    adapted = tiny_text_settings(text, adapter_width=4, steps=12)
    train(adapted, tmp_path / "first", device="cpu", cache=cache)
    start = str(tmp_path / "first" / LAST)
    with pytest.raises(BadInput, match="trained of it was adapters, expected a"):
        train(tiny_text_settings(text, init_from=start), tmp_path / "run", device="cpu")


def test_memory_and_language_do_not_share_a_folder(text: Path, cache: Path, whole: Path) -> None:
    from tests.tiny_training import tiny_settings

    with pytest.raises(BadInput, match=r"task 'memorize': the training in '.*' has 'lang"):
        train(tiny_settings(text), whole, device="cpu")
    with pytest.raises(BadInput, match="segments 3: the training in"):
        train(tiny_text_settings(text, segments=3), whole, device="cpu", cache=cache)
