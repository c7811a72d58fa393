"""Committed checkpoints that stand on pretrained weights: small, whole, and of nobody's machine.

The weights are not here, so that shapes are what can be held: those of LoRA, pooler, head and
memory on a backbone of the checkpoint's own config.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from rmtscale.rmt import RMTConfig, RMTForSequenceClassification
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.loop import train
from rmtscale.study.training.lora import trained_part, with_lora
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from tests.study.training.test_training_pretrained import save_model
from tests.tiny_training import tiny_settings, write_background

REPORTS = Path(__file__).parents[3] / "reports"
LARGEST_BYTES = 2 * 1024**2
MEMORY_TASKS = {"memorize", "detect-memorize", "reasoning"}
COMMITTED = [
    file.parent
    for file in sorted(REPORTS.glob("**/trained.safetensors"))
    if json.loads((file.parent / "task.json").read_text())["task"] in MEMORY_TASKS
]


def faults(folder: Path) -> list[str]:
    """Says what is wrong with a checkpoint of an encoder with LoRA."""
    found = []
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".jsonl")
    if size > LARGEST_BYTES:
        found.append(f"{size} bytes")
    texts = {name: (folder / name).read_text() for name in ("config.json", "task.json")}
    found += [f"a path in {name}" for name, text in texts.items() if '"/' in text]
    meaning = json.loads(texts["task.json"])
    if meaning["base"].keys() != {"name", "digest"} or meaning["vocabulary"]["kind"] != "backbone":
        found.append("weights or tokenizer without a name")
    settings = meaning["settings"]
    assert settings.keys() <= {*MemoryTaskSettings.__dataclass_fields__}
    config = RMTConfig(**json.loads(texts["config.json"]))
    torch.manual_seed(0)
    lora = with_lora(BertForSequenceClassification(config.backbone_config), settings["lora_rank"])
    rmt = RMTForSequenceClassification(lora, config)
    expected = {name: (tuple(x.shape), "F16") for name, x in trained_part(rmt.state_dict()).items()}
    with safe_open(folder / "trained.safetensors", "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        kept = {name: (tuple(x.get_shape()), x.get_dtype()) for name, x in slices.items()}
        if not all(bool(file.get_tensor(name).isfinite().all()) for name in kept):
            found.append("numbers that are not finite")
    if kept != expected:
        found.append(f"other weights: {sorted({*kept} ^ {*expected})}")
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_model(folder / "bert", "bert")
    background = write_background(folder / "text")
    settings = tiny_settings(
        background,
        backbone=str(folder / "bert"),
        lora_rank=4,
        steps=4,
        segments=1,
        burn_in=(),
        start_tokens=(),
    )
    train(settings, folder / "run", device="cpu")
    return folder / "run" / LAST


def test_one_as_it_is_written(made: Path) -> None:
    assert faults(made) == []


def test_one_that_is_not_whole(made: Path) -> None:
    file = made / "trained.safetensors"
    whole = load_file(file)
    name = "memory.initial_ME"
    save_file({key: x for key, x in whole.items() if key != name}, file)
    assert faults(made) == [f"other weights: ['{name}']"]
    save_file({**whole, name: whole[name] / 0}, file)
    assert faults(made) == ["numbers that are not finite"]
    save_file(whole, file)
    meaning = json.loads((made / "task.json").read_text())
    meaning["settings"]["background"] = "/somewhere/prose"
    (made / "task.json").write_text(json.dumps(meaning))
    assert faults(made) == ["a path in task.json"]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_ones(folder: Path) -> None:
    assert faults(folder) == []
