"""Files of earlier releases are read under the names of today, and stay as they are on the disk."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from rmtscale.records.mapping import to_mapping
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.old_names import FIELDS, renamed
from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.layout import METRICS, SETTINGS, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.settings_file import read_settings
from tests.tiny_training import tiny_settings, write_background

REPORTS = Path(__file__).parents[3] / "reports"
CHECKPOINTS = REPORTS / "figure-5" / "checkpoints"


def test_every_name_of_today_is_a_field() -> None:
    today = {
        field.name for kind in (MemoryTaskSettings, Interval, Trained) for field in fields(kind)
    }
    assert set(FIELDS.values()) - {"train_state"} <= today
    assert not today & set(FIELDS)


def test_settings(tmp_path: Path) -> None:
    settings = MemoryTaskSettings(burn_in=(8, 32), burn_in_max_steps=70, burn_in_share=0.25)
    old = {today: name for name, today in FIELDS.items()}
    values = {old.get(name, name): value for name, value in to_mapping(settings).items()}
    assert {"roll_in", "roll_in_max_steps", "roll_in_share"} <= set(values)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    assert read_settings(path) == settings


OLD = [
    path.parent for path in sorted(CHECKPOINTS.glob("*/task.json")) if "roll_in" in path.read_text()
]
"""Those whose settings have the old names; the tests of adapters hold the others."""


@pytest.mark.parametrize("name", [path.name for path in OLD])
def test_committed_checkpoints(name: str) -> None:
    before = (CHECKPOINTS / name / "task.json").read_bytes()
    kept = json.loads(before)
    loaded = load_checkpoint(CHECKPOINTS / name)
    assert list(loaded.settings.burn_in) == kept["settings"]["roll_in"]
    assert loaded.trained.stage == kept["trained"]["stage"]
    assert (CHECKPOINTS / name / "task.json").read_bytes() == before


def test_committed_metrics_and_records() -> None:
    for path in sorted(CHECKPOINTS.glob("*/training.jsonl")):
        intervals = read_metrics(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(intervals) == len(lines)
    path = REPORTS / "figure-5" / "records.jsonl"
    written_again = "".join(
        f"{record.to_line()}\n" for record in EvaluationStore(path).read().records
    )
    assert written_again == path.read_text(encoding="utf-8")


def test_what_is_not_a_name_stays() -> None:
    assert renamed({"text": "the roll-in", "rows": [{"roll_in": ["roll_in"]}]}) == {
        "text": "the roll-in",
        "rows": [{"burn_in": ["roll_in"]}],
    }


def test_an_old_training_goes_on(tmp_path: Path) -> None:
    """Its settings, its state and its metrics have the names of earlier releases."""
    settings = tiny_settings(write_background(tmp_path / "noise"), keep_stages=False)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(settings, whole, device="cpu")
    train(settings, stopped, device="cpu", max_seconds=0.0)
    old = {today: name for name, today in FIELDS.items()}

    def aged(text: str) -> str:
        values = json.loads(text)
        return json.dumps({old.get(name, name): value for name, value in values.items()}) + "\n"

    for file in (SETTINGS, METRICS):
        path = stopped / file
        path.write_text(aged(path.read_text(encoding="utf-8")), encoding="utf-8")
    with safe_open(stopped / STATE, framework="pt") as state:
        header = {old.get(name, name): text for name, text in state.metadata().items()}
        tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
    assert any(name.startswith("ema.") for name in tensors)
    for name in list(tensors):
        module, _, weight = name.partition(".")
        tensors[f"{old.get(module, module)}.{weight}"] = tensors.pop(name)
    values = json.loads(header["facts"])
    header["facts"] = json.dumps({**values, "state_version": 2})
    save_file(tensors, stopped / STATE, header)
    assert train(settings, stopped, device="cpu").finished
    outcomes = [
        [interval.outcome() for interval in read_metrics(folder / METRICS)]
        for folder in (whole, stopped)
    ]
    assert outcomes[0] == outcomes[1]
