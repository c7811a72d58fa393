"""Settings: refused where they cannot be, the same after a round trip, held against a training."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from rmtscale.cli.main import main
from rmtscale.errors import BadInput
from rmtscale.study.training.kinds import kind_of
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.settings_file import read_settings, require_same


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("segments", 0, "segments 0: expected a whole number of 1 or more"),
        ("threshold", 1.5, "threshold 1.5: expected 0 to 1"),
        ("ema_decay", 1.0, "ema decay 1.0: expected 0 or more, below 1"),
        ("learning_rate", 0.0, "learning rate 0.0: expected more than 0"),
        ("validate_every", 30, "validate every 30: expected a multiple of 50"),
        ("initializer_range", 0.0, "initializer range 0.0: expected more than 0, at most 1"),
        ("initializer_range", 1.5, "initializer range 1.5: expected more than 0, at most 1"),
        ("precision", "fp8", "precision 'fp8': expected one of fp32, bf16"),
        ("burn_in", (4, 0), "burn in 0: expected a whole number of 1 or more"),
        ("schema_version", 2, "settings of version 2: expected 1"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words.replace("(", r"\(")):
        MemoryTaskSettings(**{name: value})


def test_round_trip(tmp_path: Path) -> None:
    settings = MemoryTaskSettings(task_options={"persons": 3}, burn_in=(8, 32), seed=4)
    path = tmp_path / "settings.json"
    path.write_text(settings.to_json(), encoding="utf-8")
    assert read_settings(path) == settings


@pytest.mark.parametrize("text", ["", "{", '{"steps": "many"}', '{"colour": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"settings '.*settings.json'"):
        read_settings(path)


def test_only_the_end_may_be_moved(tmp_path: Path) -> None:
    settings = MemoryTaskSettings()
    path = tmp_path / "settings.json"
    path.write_text(settings.to_json(), encoding="utf-8")
    require_same(path, replace(settings, steps=7))
    with pytest.raises(BadInput, match=r"seed 1: the training in '.*' has 0; expected the same"):
        require_same(path, replace(settings, seed=1))


def test_json_holds_every_field() -> None:
    assert set(json.loads(MemoryTaskSettings().to_json())) == {
        one.name for one in fields(MemoryTaskSettings)
    }


def test_short_inputs_come_in_larger_batches() -> None:
    settings = MemoryTaskSettings(batch_size=64, short_batch=4)
    assert [settings.batch_size_of(n, 504) for n in (26, 126, 127, 200, 256, 504, 1008)] == [
        256,
        256,
        192,
        128,
        64,
        64,
        64,
    ]


@pytest.mark.parametrize("recipe", ["pretrained-encoder-memorize-0", "smollm2-256-lora-rmt-10-0"])
def test_null_is_a_value_or_refused_for_every_setting(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe has LoRA: ``--set lora_rank=null`` trains all weights, and is not passed over."""
    kind = kind_of("memorize" if "memorize" in recipe else "language-modeling")
    taken = set()
    for name in (each.name for each in fields(kind.settings) if each.name != "schema_version"):
        words = ["train", "--recipe", recipe, "--backbone=B", f"--out={tmp_path}"]
        with (
            mock.patch("rmtscale.cli.train.run_training", side_effect=SystemExit(0)) as training,
            pytest.raises(SystemExit) as leaving,
        ):
            main([*words, "--set", f"{name}=null"])
        if leaving.value.code == 0:
            assert getattr(training.call_args.args[0], name) is None, name
            taken.add(name)
        else:
            assert leaving.value.code == 2
            (told,) = capsys.readouterr().err.splitlines()
            assert name in told.replace(" ", "_")
    assert "lora_rank" in taken
    assert "steps" not in taken
