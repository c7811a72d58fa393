"""Damaged checkpoints and training states: one line each, and no training begins anew unasked.

``make hostile`` damages them in every way; a normal run takes a share, others at each file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rmtscale.errors import BadInput
from rmtscale.study.training.layout import LAST, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from tests.hostile.rule import breach_of_call, tell
from tests.hostile.test_readers import share
from tests.hostile.values import contents, json_of, make_places, with_bad_fields
from tests.tiny_training import tiny_settings, write_background

FILES = ("config.json", "task.json", "generation_config.json", "model.safetensors")
Damage = Callable[[dict[str, torch.Tensor]], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training: its last checkpoint and its state."""
    folder = tmp_path_factory.mktemp("trained")
    background = write_background(folder / "background", documents=2, sentences=60)
    settings = tiny_settings(background, steps=4, validation_samples=1)
    train(settings, folder / "training", device="cpu")
    return folder / "training"


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be damaged."""
    shutil.copytree(trained / LAST, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def damages(whole: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yields what is done to a file, and the file."""
    yield from contents(whole).items()
    if name.endswith(".json"):
        for what, changed in with_bad_fields(json.loads(whole)):
            yield what, json_of(changed)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_one_line(name: str, checkpoint: Path) -> None:
    file, found = checkpoint / name, {}
    whole = file.read_bytes() if file.exists() else b'{"pad_token_id": 0}'
    for what, content in share(f"checkpoint {name}", damages(whole, name)):
        file.write_bytes(content)
        breach = breach_of_call(lambda: load_checkpoint(checkpoint))
        if breach:
            found[f"{name}, {what}"] = breach
    assert not found, tell(found)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_not_waited_for(name: str, checkpoint: Path, tmp_path: Path) -> None:
    found = {}
    for what, place in (make_places(tmp_path) | {"zero": "/dev/zero"}).items():
        (checkpoint / name).unlink(missing_ok=True)
        if len(place) < 250:
            (checkpoint / name).symlink_to(place)
        breach = breach_of_call(lambda: load_checkpoint(checkpoint))
        if breach:
            found[what] = breach
    assert not found, tell(found)


def test_weights_that_are_no_numbers_are_refused(checkpoint: Path) -> None:
    """They answered every question with the first class: an accuracy of 0 % was recorded."""
    weights = load_file(checkpoint / "model.safetensors")
    first = next(name for name, x in weights.items() if x.is_floating_point())
    weights[first].view(-1)[0] = float("nan")
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=f"{first} has weights that are no finite numbers"):
        load_checkpoint(checkpoint)


def test_another_segment_size_than_the_trained_one_is_said(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["segment_size"] -= 8
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="segment_size 24, expected 32, with which it was trained"):
        load_checkpoint(checkpoint)


def _one_moment(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name, x in tensors.items() if name.startswith("optimizer.") and x.ndim)
    tensors[name] = torch.zeros(3)


def _a_parameter_more(tensors: dict[str, torch.Tensor]) -> None:
    tensors["optimizer.999.exp_avg"] = torch.zeros(3)


def _a_name(tensors: dict[str, torch.Tensor]) -> None:
    tensors["optimizer.x"] = torch.zeros(3)


def _no_number(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if name.startswith("model."))
    tensors[name] = tensors[name] * float("nan")


def _missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if name.startswith("ema."))]


@pytest.mark.parametrize("damage", [_one_moment, _a_parameter_more, _a_name, _no_number, _missing])
def test_a_damaged_state_is_one_line(damage: Damage, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    shutil.copytree(trained, folder)
    with safe_open(folder / STATE, framework="pt") as file:
        header: Any = file.metadata()
    tensors = load_file(folder / STATE)
    damage(tensors)
    save_file(tensors, folder / STATE, header)
    with pytest.raises(BadInput, match="state '"):
        _go_on(folder)


def test_a_state_that_is_no_file_does_not_begin_anew(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    shutil.copytree(trained, folder)
    (folder / STATE).unlink()
    (folder / STATE).mkdir()
    before = sorted(folder.rglob("*"))
    with pytest.raises(BadInput, match="expected a file, this is a folder"):
        _go_on(folder)
    assert sorted(folder.rglob("*")) == before


def _go_on(folder: Path) -> None:
    from rmtscale.study.training.settings_file import read_settings

    settings = read_settings(folder / "settings.json")
    train(replace(settings, steps=8), folder, device="cpu")
