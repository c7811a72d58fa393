"""A trained language model as a folder: an RMT's weights, and its tokenizer in ``task.json``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rmtscale.errors import BadInput, quoted_list
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.rmt import RMTForCausalLM
from rmtscale.study.tasks.tokenizer import (
    TextTokenizer,
    load_tokenizer,
    tokenizer_from_mapping,
)
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
from rmtscale.study.training.language.backbone import build_text_rmt
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
    base = settings.backbone if settings.keeps_trained_part else None
    own = base is not None and settings.tokenizer is None
    meaning = {
        "task": settings.task,
        # That of a backbone lies beside its weights, and is larger than what LoRA trains.
        "tokenizer": {"kind": OF_BACKBONE, "digest": tokenizer.digest}
        if own
        else tokenizer.to_mapping(),
        "settings": to_mapping(portable(settings)),
        "trained": to_mapping(trained),
    }
    write_checkpoint(folder, predictor.rmt, meaning, base=base)


def load_language_checkpoint(
    folder: Path, task: str | None = None, backbone: str | None = None
) -> LanguageCheckpoint:
    """Loads a checkpoint in fp32, on the CPU, in evaluation mode.

    Args:
        folder: of the checkpoint.
        task: what it has to be trained on; None takes any language task.
        backbone: the pretrained weights that a checkpoint of what was added to them stands on; any
            other has all of its own.

    Raises:
        BadInput: not a checkpoint, damaged, of another version or task, or other pretrained
            weights than those it was trained on.
    """
    meaning = read_meaning(folder)
    accepted = LANGUAGE_TASKS if task is None else (task,)
    if meaning.get("task") not in accepted:
        raise BadInput(
            f"checkpoint {str(folder)!r} is of the task {meaning.get('task')!r}: expected "
            f"{quoted_list(accepted)}"
        )
    base = base_of(folder, meaning, backbone)
    try:
        settings = from_mapping(LanguageSettings, meaning["settings"])
        trained = from_mapping(Trained, meaning["trained"])
        kept = meaning["tokenizer"]
        if backbone is not None and kept["kind"] == OF_BACKBONE:
            tokenizer = _tokenizer_of(backbone, kept["digest"])
        else:
            tokenizer = tokenizer_from_mapping(kept)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"checkpoint {str(folder)!r}: task.json: {error}") from error
    with quiet():
        if base is None or backbone is None:
            rmt = RMTForCausalLM.from_pretrained(folder, dtype=torch.float32)
        else:
            rmt = build_text_rmt(replace(settings, backbone=backbone), tokenizer)
            load_trained_part(folder, rmt, base, backbone)
    require_trained_as(rmt, settings, folder)
    return LanguageCheckpoint(folder, Predictor(rmt).eval(), settings, tokenizer, trained)


def _tokenizer_of(backbone: str, digest: object) -> TextTokenizer:
    """Reads the tokenizer of a backbone, which has to be that of the training."""
    tokenizer = load_tokenizer(backbone)
    if tokenizer.digest != digest:
        raise BadInput(
            f"backbone {backbone!r} has a tokenizer of digest {tokenizer.digest}, expected "
            f"{digest} with which it was trained"
        )
    return tokenizer
