"""A decoder of a folder, answering in free text: any of Hugging Face's, or an RMT.

A decoder reads a whole sample at once, with attention over all of it, and an RMT segment by
segment. Both go on with the text greedily.

Shape legend: B batch, N tokens of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rmtscale.errors import BadInput, reason_of
from rmtscale.readers import read_config
from rmtscale.rmt import RMTForCausalLM
from rmtscale.rmt.config import RMTConfig
from rmtscale.study.evaluation.free_text import answered
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.streamed import StreamedRows
from rmtscale.study.tasks.vocabulary import TokenizerVocabulary
from rmtscale.study.training.checkpoint import quiet, weights_digest
from rmtscale.study.training.device import autocast

NEW_TOKENS = 16
"""Longest answer, in tokens."""


class DecoderAnswers:
    """A model and its tokenizer.

    Args:
        folder: weights in safetensors, ``config.json`` and ``tokenizer.json``.
        device: where it runs.
        precision: ``fp32`` or ``bf16``.

    Raises:
        BadInput: no such model, or none that writes text.
    """

    training, compile_step, merged_lora = None, False, False

    def __init__(self, folder: Path, device: torch.device, precision: str) -> None:
        config = read_config(folder / "config.json", f"model {str(folder)!r}: config.json")
        recurrent = isinstance(config, dict) and config.get("model_type") == RMTConfig.model_type
        self.kind = "rmt" if recurrent else "decoder"
        self.vocabulary = TokenizerVocabulary(str(folder))
        self._device, self._precision = device, precision
        self._model: Any = _load(folder, recurrent=recurrent).to(device).eval()
        self.weights = weights_digest(folder)
        self.dead_band = float(getattr(self._model.config, "dead_band", 0.0))

    def prompt(self, asked: Asked) -> str:
        """Returns the question and where the answer begins."""
        return f"Question: {asked.question} Answer:"

    def warm_up(self, batch_size: int) -> None:
        """Reads a few tokens."""
        self._write(torch.zeros((batch_size, 8), dtype=torch.long, device=self._device))

    def answer(
        self, rows: StreamedRows, asked: Sequence[Asked], labels: Sequence[str]
    ) -> list[str | None]:
        """Returns the one label that each text answers with."""
        tokens = rows.shape[1]
        most = getattr(self._model.config, "max_position_embeddings", None)
        if self.kind == "decoder" and most is not None and tokens + NEW_TOKENS > most:
            raise BadInput(
                f"a sample of {tokens:,} tokens: expected {most - NEW_TOKENS:,} or less, what the "
                "model has positions for besides its answer"
            )
        ids_BN = torch.from_numpy(rows[:, 0:tokens]).long().to(self._device)
        made = self._write(ids_BN)[:, tokens:].tolist()
        return [
            answered(self.vocabulary.text(ids), one.question, labels)
            for ids, one in zip(made, asked, strict=True)
        ]

    @torch.no_grad()
    def _write(self, ids_BN: torch.Tensor) -> torch.Tensor:
        """Returns the text with at most so many new tokens."""
        with autocast(self._device, self._precision):
            written: torch.Tensor = self._model.generate(
                ids_BN,
                attention_mask=torch.ones_like(ids_BN),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=self.vocabulary.pad_id,
            )
        return written


def _load(folder: Path, *, recurrent: bool) -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = RMTForCausalLM if recurrent else AutoModelForCausalLM
    more = {} if recurrent else {"use_safetensors": True, "local_files_only": True}
    try:
        with quiet():
            return auto.from_pretrained(folder, dtype=torch.float32, **more)
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"model {str(folder)!r}: {reason_of(error, 160)}; expected a folder with a decoder in "
            "safetensors"
        ) from error
