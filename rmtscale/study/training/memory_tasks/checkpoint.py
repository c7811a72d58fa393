"""A model trained on a memory task as a folder: an RMT's weights, and its vocabulary too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rmtscale.errors import BadInput, quoted_list
from rmtscale.readers import read_config
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.rmt import RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.families import ENCODERS
from rmtscale.rmt.peft_layers import merge
from rmtscale.study.tasks.catalog import TASKS
from rmtscale.study.tasks.vocabulary import TextCoder, TokenizerVocabulary
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.checkpoint import (
    OF_BACKBONE,
    Trained,
    base_of,
    load_trained_part,
    portable,
    quiet,
    read_meaning,
    require_trained_as,
    write_checkpoint,
)
from rmtscale.study.training.layout import TASK_FILE
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids, restore_data
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint, read back."""

    folder: Path
    answerer: Answerer
    settings: MemoryTaskSettings
    data: TaskData
    """The task with its vocabulary; background text is loaded where it is needed."""
    trained: Trained

    @property
    def trained_segments(self) -> int:
        """Segments with a gradient."""
        return self.trained.segments

    @property
    def trained_with(self) -> tuple[dict[str, object], ...]:
        """Settings of all trainings of the weights that change what is learned, its own last."""
        return (*self.trained.learned_before, learned(self.settings))

    def merge_lora(self) -> None:
        """Merges LoRA into the weights: reading is faster, and the same but for rounding.

        Raises:
            BadInput: it has none.
        """
        if self.settings.lora_rank is None:
            raise BadInput(
                f"merge LoRA of checkpoint {str(self.folder)!r}: expected one with LoRA, all "
                "weights of this one were trained"
            )
        merge(self.answerer.rmt)


def learned_before(
    checkpoint: Checkpoint, settings: MemoryTaskSettings
) -> tuple[dict[str, object], ...]:
    """Returns what the trainings before one noted; of one that only goes on, with the settings of
    the checkpoint, those before that."""
    before = checkpoint.trained_with
    return before[:-1] if before[-1] == learned(portable(settings)) else before


def export_checkpoint(
    folder: Path,
    answerer: Answerer,
    settings: MemoryTaskSettings,
    data: TaskData,
    trained: Trained,
) -> None:
    """Writes the checkpoint; one that is there is replaced when the new one is whole.

    Raises:
        BadInput: it cannot be written.
    """
    stands_on = settings.lora_rank is not None and settings.backbone not in SIZES
    base = settings.backbone if stands_on else None
    words = data.vocabulary
    meaning = {
        "task": settings.task,
        "classes": list(data.task.classes),
        "vocabulary": words.to_mapping() if base is None else _of_backbone(words),
        "settings": to_mapping(portable(settings)),
        "trained": to_mapping(trained),
    }
    write_checkpoint(folder, answerer.rmt, meaning, base=base)


def _of_backbone(words: TextCoder) -> dict[str, str]:
    """Names the tokenizer that lies beside the weights a checkpoint stands on: a third of its size
    would be a copy of it."""
    assert isinstance(words, TokenizerVocabulary), "a pretrained backbone has its own"
    return {"kind": OF_BACKBONE, "digest": words.digest}


def load_checkpoint(
    folder: Path, task: str | None = None, backbone: str | None = None
) -> Checkpoint:
    """Loads a checkpoint in fp32, on the CPU, in evaluation mode.

    Args:
        folder: of the checkpoint.
        task: what it has to be trained on; None takes any memory task.
        backbone: the pretrained weights that a checkpoint with LoRA stands on; any other has all of
            its own.

    Raises:
        BadInput: not a checkpoint, damaged, of another version or task.
    """
    meaning = read_meaning(folder)
    accepted = tuple(TASKS) if task is None else (task,)
    if meaning.get("task") not in accepted:
        raise BadInput(
            f"checkpoint {str(folder)!r} is of the task {meaning.get('task')!r}: expected "
            f"{quoted_list(accepted)}"
        )
    base = base_of(folder, meaning, backbone)
    try:
        settings = from_mapping(MemoryTaskSettings, meaning["settings"])
        trained = from_mapping(Trained, meaning["trained"])
        vocabulary = meaning["vocabulary"]
        classes = meaning["classes"]
        if backbone is not None and vocabulary["kind"] == OF_BACKBONE:
            data = TaskData(settings, _tokenizer_of(backbone, vocabulary["digest"]))
        else:
            data = restore_data(settings, vocabulary)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"checkpoint {str(folder)!r}: {TASK_FILE}: {error}") from error
    if not isinstance(classes, list):
        raise BadInput(f"checkpoint {str(folder)!r}: {TASK_FILE}: classes, expected a list")
    if list(data.task.classes) != classes:
        raise BadInput(
            f"checkpoint {str(folder)!r} answers {', '.join(map(str, classes))}: expected "
            f"{', '.join(data.task.classes)}, the answers of {settings.task}"
        )
    if base is None or backbone is None:
        kind = _kind(folder)
        auto: Any = RMTForSequenceClassification if kind in ENCODERS else RMTForCausalLM
        with quiet():
            rmt = auto.from_pretrained(folder, dtype=torch.float32)
    else:
        rmt = _on_backbone(folder, settings, data, base, backbone)
    require_trained_as(rmt, settings, folder)
    answerer = Answerer(rmt, class_ids(data))
    return Checkpoint(folder, answerer.eval(), settings, data, trained)


def _tokenizer_of(backbone: str, digest: object) -> TokenizerVocabulary:
    """Reads the tokenizer of a backbone, which has to be that of the training."""
    words = TokenizerVocabulary(backbone)
    if words.digest != digest:
        raise BadInput(
            f"backbone {backbone!r} has a tokenizer of digest {words.digest}, expected {digest} "
            "with which it was trained"
        )
    return words


def _on_backbone(
    folder: Path,
    settings: MemoryTaskSettings,
    data: TaskData,
    base: dict[str, Any],
    backbone: str,
) -> RMTPreTrainedModel:
    """Builds the RMT as for its training, and puts in what was trained."""
    rmt = _begun(settings, data, backbone)
    load_trained_part(folder, rmt, base, backbone)
    return rmt


def _begun(settings: MemoryTaskSettings, data: TaskData, backbone: str) -> RMTPreTrainedModel:
    words = data.vocabulary
    with quiet():
        return build_rmt(
            replace(settings, backbone=backbone),
            len(words),
            len(data.task.classes),
            (words.cls_id, words.sep_id),
        )


def before_training(checkpoint: Checkpoint, backbone: str) -> Answerer:
    """Builds the model of a checkpoint with LoRA as it was before any training: the pretrained
    weights, LoRA that adds nothing yet, and the memory as it was drawn.

    Args:
        checkpoint: what it became.
        backbone: the pretrained weights that it stands on.

    Raises:
        BadInput: no such backbone.
    """
    rmt = _begun(checkpoint.settings, checkpoint.data, backbone)
    return Answerer(rmt, class_ids(checkpoint.data)).eval()


def _kind(folder: Path) -> str:
    named = f"checkpoint {str(folder)!r}: config.json"
    config = read_config(folder / "config.json", named)
    backbone = config.get("backbone_config") if isinstance(config, dict) else None
    kind = backbone.get("model_type") if isinstance(backbone, dict) else None
    if not isinstance(kind, str):
        raise BadInput(f"{named}: expected that of an RMT with its backbone")
    return kind
