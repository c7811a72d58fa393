"""An RMT that was trained on BABILong, answering: the likeliest of all answers that there are.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

import numpy as np

from rmtscale.study.records.babilong import BabilongTraining
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.streamed import StreamedRows
from rmtscale.study.training.checkpoint import source_name, weights_digest
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader


class RmtAnswers:
    """A checkpoint on a device.

    Args:
        checkpoint: of the task ``babilong``.
        reader: reads with its answerer.
    """

    kind = "rmt"

    def __init__(self, checkpoint: Checkpoint, reader: Reader) -> None:
        self._reader = reader
        self._classes = checkpoint.data.task.classes
        self.weights = weights_digest(checkpoint.folder)
        self.dead_band: float = reader.answerer.rmt.config.dead_band
        self.training = trained_as(checkpoint)

    def prompt(self, asked: Asked) -> str:
        """Returns the question alone."""
        return asked.question

    def warm_up(self, batch_size: int) -> None:
        """Reads two segments, so that the step is captured before the clock starts."""
        segment_tokens = self._reader.answerer.segment_tokens
        self._reader.logits(np.zeros((batch_size, 2 * segment_tokens), dtype=np.int32))

    def answer(self, rows: StreamedRows, asked: list[Asked]) -> list[str | None]:
        """Returns the likeliest answer to each row."""
        del asked
        return [self._classes[index] for index in self._reader.logits(rows).argmax(1).tolist()]


def trained_as(checkpoint: Checkpoint) -> BabilongTraining:
    """Describes the training of a checkpoint."""
    settings, trained = checkpoint.settings, checkpoint.trained
    return BabilongTraining(
        stories=str(settings.task_options.get("stories", "qa1")),
        backbone=source_name(settings.backbone),
        steps=trained.step,
        stage=trained.stage,
        seed=settings.seed,
        segments=trained.segments,
        segment_tokens=checkpoint.answerer.segment_tokens,
        memory_tokens=settings.memory_tokens,
        burn_in=settings.burn_in,
        fact_fragments=settings.fact_fragments,
        replay_lost=settings.replay_lost,
        parameters=trained.parameters,
    )
