"""An RMT that was trained on BABILong, answering: the likeliest of all answers, or free text.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from rmtscale.errors import BadInput
from rmtscale.rmt.peft_layers import is_merged
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation.free_text import answered
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
        answers: ``classes``: the likeliest of all answers; ``generate``: the likeliest words of the
            whole vocabulary, as many as the longest answer has tokens.

    Raises:
        BadInput: an encoder, which writes nothing, asked to generate.
    """

    kind = "rmt"

    def __init__(self, checkpoint: Checkpoint, reader: Reader, answers: str = "classes") -> None:
        self._reader, self._generates = reader, answers == "generate"
        if self._generates and not reader.answerer.decoder:
            raise BadInput(f"answers {answers!r} of an encoder: expected classes")
        self._words = checkpoint.data.vocabulary
        self._classes = checkpoint.data.task.classes
        self.weights = weights_digest(checkpoint.folder)
        self.dead_band: float = reader.answerer.rmt.config.dead_band
        self.compile_step = reader.compile_step
        self.merged_lora = is_merged(reader.answerer.rmt)
        self.training = trained_as(checkpoint)

    def prompt(self, asked: Asked) -> str:
        """Returns the question alone."""
        return asked.question

    def warm_up(self, batch_size: int) -> None:
        """Reads two segments, so that the step is captured before the clock starts."""
        # Stories alone come in batches of many sizes: a step captured for each would stay, and a
        # long sample seem to take more memory than it does.
        self._reader.capture_only(batch_size)
        segment_tokens = self._reader.answerer.segment_tokens
        self._reader.logits(np.zeros((batch_size, 2 * segment_tokens), dtype=np.int32))

    def answer(
        self, rows: StreamedRows, asked: Sequence[Asked], labels: Sequence[str]
    ) -> list[str | None]:
        """Returns the likeliest answer to each row, or the one label in what was written."""
        if self._generates:
            new_tokens = max(len(self._words.array(label)) for label in self._classes)
            return [
                answered(self._words.text(ids), one.question, labels)
                for ids, one in zip(self._written(rows, new_tokens), asked, strict=True)
            ]
        return [self._classes[index] for index in self._reader.logits(rows).argmax(1).tolist()]

    @torch.no_grad()
    def _written(self, rows: StreamedRows, new_tokens: int) -> list[list[int]]:
        """Goes on with each row greedily; its last segment leaves room for the new tokens."""
        reader, answerer = self._reader, self._reader.answerer
        tokens = rows.shape[1]
        last = min(tokens, answerer.segment_tokens - new_tokens + 1)
        head: Any = answerer.rmt.get_output_embeddings()
        with reader.autocast():
            state_BME = answerer.initial(rows.shape[0])
            if tokens > last:
                bounds = cut(tokens - last, answerer.segment_tokens)
                # A copy: on a GPU the state is a buffer that the next segment overwrites.
                state_BME = reader.roll(state_BME, rows, bounds).clone()
            ids_BL = reader.on_device(rows[:, tokens - last : tokens]).long()
            for _ in range(new_tokens):
                _, read_BTE = answerer.step(state_BME, ids_BL)
                next_B = F.linear(read_BTE[:, -1], head.weight).argmax(-1)
                ids_BL = torch.cat([ids_BL, next_B[:, None]], dim=1)
        made: list[list[int]] = ids_BL[:, last:].tolist()
        return made


def trained_as(checkpoint: Checkpoint) -> BabilongTraining:
    """Describes the training of a checkpoint."""
    settings, trained = checkpoint.settings, checkpoint.trained
    return BabilongTraining(
        stories=str(settings.task_options.get("stories", "qa1")),
        backbone=source_name(settings.backbone),
        steps=trained.all_steps,
        stage=trained.stage,
        seed=settings.seed,
        segments=trained.segments,
        segment_tokens=checkpoint.answerer.segment_tokens,
        memory_tokens=settings.memory_tokens,
        sink_tokens=settings.sink_tokens,
        burn_in=settings.burn_in,
        fact_fragments=settings.fact_fragments,
        replay_lost=settings.replay_lost,
        parameters=trained.parameters,
        between_share=settings.between_share,
        ask_state=bool(settings.task_options.get("ask_state", False)),
        initializer_range=settings.initializer_range,
        closing_questions=settings.closing_questions,
        memory_noise=settings.memory_noise,
        late_facts=settings.late_facts,
        burn_in_dead_band=settings.burn_in_dead_band,
        lora_rank=settings.lora_rank or 0,
        seconds=None if trained.steps_before else trained.seconds,
        trained_with=checkpoint.trained_with,
    )
