"""Checkpoints of language tasks that were never trained: random weights that can be told apart."""

from __future__ import annotations

from pathlib import Path

import torch

from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.language.backbone import build_text_rmt
from rmtscale.study.training.language.checkpoint import (
    LanguageCheckpoint,
    export_language_checkpoint,
    load_language_checkpoint,
)
from rmtscale.study.training.language.data import LanguageData
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.language.settings import LanguageSettings

TRAINED = Trained(
    step=7,
    stage="2 segments",
    segments=2,
    tokens=1000,
    flops=10**9,
    seconds=1.5,
    parameters=123,
    trainable_parameters=45,
)


def make_checkpoint(folder: Path, settings: LanguageSettings, cache: Path) -> LanguageCheckpoint:
    """Writes it in ``folder``, with weights large enough for memory to matter, and reads it."""
    tokenizer = LanguageData(settings, cache).tokenizer
    predictor = Predictor(build_text_rmt(settings, tokenizer))
    torch.manual_seed(settings.seed)
    for parameter in predictor.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    export_language_checkpoint(folder, predictor, settings, tokenizer, TRAINED)
    return load_language_checkpoint(folder)
