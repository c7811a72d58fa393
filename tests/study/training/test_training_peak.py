"""The peak of a training is its own, whatever was trained before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.study.figures.training_runs import TrainingSetup, train_all
from rmtscale.study.training import device, loop
from rmtscale.study.training.kinds import make_objective
from rmtscale.study.training.layout import METRICS
from rmtscale.study.training.metrics import read_metrics
from tests.tiny_training import tiny_settings, write_background


def test_a_training_begins_its_peak_before_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(loop, "begin_peak", lambda where: begun.append(where.type))
    made = make_objective

    def noted(*given: Any) -> Any:
        begun.append("model")
        return made(*given)

    monkeypatch.setattr(loop, "make_objective", noted)
    settings = tiny_settings(write_background(tmp_path / "noise"), steps=4)
    for name in ("first", "second"):
        loop.train(settings, tmp_path / name, device="cpu")
    assert begun == ["cpu", "model"] * 2


def test_only_a_gpu_has_a_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    reset: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    device.begin_peak(torch.device("cpu"))
    assert reset == []
    device.begin_peak(torch.device("cuda"))
    assert reset == [torch.device("cuda")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
@pytest.mark.parametrize("captured", [False, True])
def test_a_small_training_after_a_large_one(tmp_path: Path, captured: bool) -> None:
    noise = write_background(tmp_path / "noise")
    small = tiny_settings(noise, steps=32, cuda_graph=captured)
    recipes = {"before": small, "large": replace(small, batch_size=2048), "after": small}
    assert train_all(recipes, TrainingSetup(folder=tmp_path / "runs", device="cuda")) == []
    peak = {
        name: read_metrics(tmp_path / "runs" / name / METRICS)[-1].peak_allocated_bytes or 0
        for name in recipes
    }
    assert peak["large"] > 2 * peak["before"]
    assert peak["after"] == pytest.approx(peak["before"], rel=0.01)
