"""Options of ``rmtscale dead-band`` that both ways to choose have, and what both do with them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options that both ways have."""

    checkpoint: Path
    background: str | None
    """Noise; None is that of the training, where it is here."""
    seed: int
    backbone: str | None
    merge_lora: bool
    """Whether LoRA is added to the weights first."""
    device: str | None
    out: Path | None
    """File of records; None is the default of the way."""
    anew: bool
    """Whether the records in the file are dropped."""
    output_format: str

    def load(self) -> Checkpoint:
        """Loads the checkpoint, with LoRA merged where that was asked for.

        Raises:
            BadInput: not a checkpoint of a memory task, or LoRA to merge and none in it.
        """
        from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

        loaded = load_checkpoint(self.checkpoint, backbone=self.backbone)
        if self.merge_lora:
            loaded.merge_lora()
        return loaded

    def evaluation(self, dead_band: float) -> str:
        """Writes the command that evaluates with a dead band, without one where it is 0."""
        words = ["rmtscale", "evaluate", str(self.checkpoint)]
        if self.backbone is not None:
            words += ["--backbone", self.backbone]
        if self.merge_lora:
            words.append("--merge-lora")
        if dead_band:
            words += ["--dead-band", f"{dead_band:g}"]
        return shlex.join(words)
