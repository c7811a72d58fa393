"""The checkpoint that a language training begins with: of another one, of the same tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.language.settings import LanguageSettings

if TYPE_CHECKING:
    from rmtscale.rmt import RMTForCausalLM
    from rmtscale.study.tasks.tokenizer import TextTokenizer


def begun_with(settings: LanguageSettings, tokenizer: TextTokenizer) -> RMTForCausalLM | None:
    """Loads the RMT that ``init_from`` names; None where nothing is named.

    Raises:
        BadInput: no such checkpoint, one beside a frozen backbone, or of another tokenizer.
    """
    if settings.init_from is None:
        return None
    checkpoint = load_language_checkpoint(Path(settings.init_from))
    if checkpoint.settings.adapted:
        raise BadInput(
            f"init from {settings.init_from!r}: trained of it was "
            f"{checkpoint.settings.trained_weights}, expected a checkpoint of all weights"
        )
    if checkpoint.tokenizer.digest != tokenizer.digest:
        raise BadInput(
            f"init from {settings.init_from!r}: it has another tokenizer, expected the same one"
        )
    rmt: Any = checkpoint.predictor.rmt
    trained: RMTForCausalLM = rmt
    return trained
