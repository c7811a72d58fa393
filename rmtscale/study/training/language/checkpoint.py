"""A trained language model as a folder: an RMT's weights, and its tokenizer in ``task.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rmtscale.errors import BadInput, quoted_list
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.rmt import RMTForCausalLM
from rmtscale.study.tasks.tokenizer import TextTokenizer, tokenizer_from_mapping
from rmtscale.study.training.checkpoint import (
    Trained,
    portable,
    quiet,
    read_meaning,
    require_trained_as,
    write_checkpoint,
)
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.language.settings import LANGUAGE_TASKS, LanguageSettings


@dataclass(frozen=True, slots=True)
class LanguageCheckpoint:
    """A checkpoint, read back."""

    folder: Path
    predictor: Predictor
    settings: LanguageSettings
    tokenizer: TextTokenizer
    trained: Trained


def export_language_checkpoint(
    folder: Path,
    predictor: Predictor,
    settings: LanguageSettings,
    tokenizer: TextTokenizer,
    trained: Trained,
) -> None:
    """Writes the checkpoint; one that is there is replaced when the new one is whole.

    Raises:
        BadInput: it cannot be written.
    """
    meaning = {
        "task": settings.task,
        "tokenizer": tokenizer.to_mapping(),
        "settings": to_mapping(portable(settings)),
        "trained": to_mapping(trained),
    }
    write_checkpoint(folder, predictor.rmt, meaning)


def load_language_checkpoint(folder: Path, task: str | None = None) -> LanguageCheckpoint:
    """Loads a checkpoint in fp32, on the CPU, in evaluation mode.

    Args:
        folder: of the checkpoint.
        task: what it has to be trained on; None takes any language task.

    Raises:
        BadInput: not a checkpoint, damaged, of another version or task.
    """
    meaning = read_meaning(folder)
    accepted = LANGUAGE_TASKS if task is None else (task,)
    if meaning.get("task") not in accepted:
        raise BadInput(
            f"checkpoint {str(folder)!r} is of the task {meaning.get('task')!r}: expected "
            f"{quoted_list(accepted)}"
        )
    try:
        settings = from_mapping(LanguageSettings, meaning["settings"])
        trained = from_mapping(Trained, meaning["trained"])
        tokenizer = tokenizer_from_mapping(meaning["tokenizer"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"checkpoint {str(folder)!r}: task.json: {error}") from error
    with quiet():
        rmt = RMTForCausalLM.from_pretrained(folder, dtype=torch.float32)
    require_trained_as(rmt, settings, folder)
    return LanguageCheckpoint(folder, Predictor(rmt).eval(), settings, tokenizer, trained)
