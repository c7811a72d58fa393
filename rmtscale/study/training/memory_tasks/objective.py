"""The memory tasks as an objective: one answer out of a few, after all of the text."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.errors import BadInput, quoted_list
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.peft_layers import merge_anew
from rmtscale.rmt.segmenting import cut
from rmtscale.study.tasks.babi.state import MOVING
from rmtscale.study.tasks.batches import Asked
from rmtscale.study.tasks.task import Task
from rmtscale.study.training.beginning import take_backbone, take_memory
from rmtscale.study.training.checkpoint import Trained, weights_digest
from rmtscale.study.training.curriculum import Progress, Stage
from rmtscale.study.training.device import precision_on
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import (
    Checkpoint,
    export_checkpoint,
    learned_before,
    load_checkpoint,
)
from rmtscale.study.training.memory_tasks.curriculum import advance, draw, plan_stages
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.memory_tasks.replay import (
    bisected_segments,
    cut_out,
    first_segments,
    right_answers,
)
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.memory_tasks.told import FactHead
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.rolling import Roller
from rmtscale.study.training.share import ALL, Share

_NOISE = 20_240_413
"""Keeps the noise on the memory apart from all else that is drawn with the same seed and step."""


class MemoryObjective(Objective):
    """``memorize``, ``detect-memorize`` and ``reasoning``."""

    measure = "accuracy"
    learner: Answerer

    def __init__(self, settings: MemoryTaskSettings) -> None:
        self.settings: MemoryTaskSettings = settings
        self.data = TaskData(settings)
        # Refused before anything that takes long.
        _require_had(settings, self.data.task)
        words = self.data.vocabulary
        edges = words.cls_id, words.sep_id
        answers = class_ids(self.data)
        rmt = build_rmt(settings, len(words), len(self.data.task.classes), edges)
        self.stages = plan_stages(
            settings,
            rmt.segment_tokens,
            self.data.shortest_tokens(),
            contrasts=self.data.task.contrasts() is not None,
        )
        self._roller: Roller | None = None
        self._reader: Reader | None = None
        self._merged: WeakKeyDictionary[Answerer, Answerer] = WeakKeyDictionary()
        self.learner = Answerer(
            rmt,
            answers,
            compile_step=settings.compile_step,
            whole_vocabulary=settings.whole_vocabulary,
            fact_head=self._fact_head(rmt) if settings.told_weight else None,
        )
        if settings.init_from is not None:
            begun = _take_weights(self.learner, settings, self.data)
            self.steps_before = begun.trained.all_steps
            self.learned_before = learned_before(begun, settings)
            self.weights_before = weights_digest(begun.folder)

    def _fact_head(self, rmt: RMTPreTrainedModel) -> FactHead:
        settings = self.settings
        numbers = settings.memory_tokens * rmt.embedding_VE.shape[1]
        shape = self.data.task.told_shape
        assert shape is not None, "refused before"
        return FactHead(numbers, shape, settings.told_weight, settings.seed)

    def ema_copy(self) -> Answerer:
        ema = self._copy(self.learner)
        # Weights of the two are taken in pairs, in the EMA and in the state of a training.
        ema.fact_head = copy.deepcopy(self.learner.fact_head)
        return ema

    def _copy(self, answerer: Answerer) -> Answerer:
        # Not a copy of the whole: a compiled step would be that of the model it was made for.
        return Answerer(copy.deepcopy(answerer.rmt), class_ids(self.data))

    def _reading(self, answerer: Answerer) -> Answerer:
        """Returns what reads without a gradient: the model, or a copy that has its weights of now
        with LoRA merged into them. Weights that are cut stay as they are."""
        if not self.settings.merge_lora or answerer.cut:
            return answerer
        if answerer not in self._merged:
            self._merged[answerer] = self._copy(answerer)
        merge_anew(self._merged[answerer].rmt, answerer.rmt)
        return self._merged[answerer]

    def batch(self, step: int, current: int) -> Batch:
        settings, segment_tokens = self.settings, self.learner.segment_tokens
        drawn = draw(settings, self.stages, current, step, segment_tokens)
        stage = self.stages[drawn.stage]
        batches = self.data.batches(
            drawn.tokens,
            segment_tokens,
            contrast=drawn.contrast or stage.contrast,
            between=drawn.between,
            closing=drawn.closing,
            bare=stage.bare,
            late_tokens=stage.tokens if drawn.burn_in_segments else 0,
            batch_size=settings.batch_size_of(drawn.tokens, segment_tokens),
        )
        told: list[npt.NDArray[np.int64]] = []
        # What is replayed leaves segments out: behind a burn-in nothing is told.
        if settings.told_weight and not drawn.burn_in_segments:
            samples, asked, *told = batches.batch_and_told(step)
        else:
            samples, asked = batches.batch_and_questions(step)
        segments = samples.fact_positions // segment_tokens
        # Only what is read with a gradient is asked for.
        with_gradient = asked.columns >= drawn.tokens - stage.tokens
        asked = Asked(asked.columns, np.where(with_gradient, asked.answers, -1))
        inputs = [samples.ids, samples.answers]
        if drawn.burn_in_segments:
            inputs.append(segments[:, 0])
            if settings.memory_noise:
                inputs.append(self._noise(step, len(samples.ids)))
        inputs += told
        inputs += asked if drawn.asks_more else ()
        tensors = tuple(torch.from_numpy(array) for array in inputs)
        batch = Batch(step, drawn, tensors, drawn.burn_in_segments, len(samples.ids))
        return replace(batch, scored=self.scored(batch))

    def _noise(self, step: int, rows: int) -> npt.NDArray[np.float32]:
        """Noise on the states of a batch, (B, M, E): a function of seed and step alone."""
        random = np.random.default_rng((_NOISE, self.settings.seed, step))
        shape = rows, self.settings.memory_tokens, self.learner.rmt.embedding_VE.shape[1]
        width_B11 = random.random((rows, 1, 1), dtype=np.float32) * self.settings.memory_noise
        return random.standard_normal(shape, dtype=np.float32) * width_B11

    def scored(self, batch: Batch) -> int:
        if batch.draw.asks_more:
            return int((batch.inputs[-1] >= 0).sum())
        return len(batch.inputs[0])

    def inputs(self, batch: Batch, device: torch.device) -> tuple[Any, ...]:
        """Ids and answers, questions among the facts, what a head is to tell after each segment,
        and of a burn-in the state after the segments without a gradient, with noise on it where
        that is asked for.

        Those are read as in an evaluation: without dropout, with a dead band if that is asked for,
        and captured where there is CUDA.
        """
        if not batch.constant:
            ids_BN, answers_B, *more_tensors = batch.to(device)
            if not self.settings.told_weight:
                return (ids_BN, answers_B, None, *more_tensors)
            told_BST, *asked_BK = more_tensors
            return ids_BN, answers_B, None, *(asked_BK or (None, None)), told_BST
        ids, answers, read, *more = (tensor.numpy() for tensor in batch.inputs)
        noise = more.pop(0) if self.settings.memory_noise else None
        reads = self._reading(self.learner)
        if self._roller is None:
            precision = precision_on(device, self.settings.precision)
            self._roller = Roller(reads, device, precision, compile_step=self.settings.compile_step)
        roller, segment_tokens = self._roller, reads.segment_tokens
        answers_B = roller.on_device(answers)
        bounds = cut(ids.shape[1], segment_tokens)
        burn_in, left = bounds[: batch.constant], len(bounds) - batch.constant
        reads.eval()
        with torch.no_grad():
            initial_BME = reads.initial(ids.shape[0])
        # What is captured has this band in it, so that whatever is read here is read inside.
        with reads.rmt.with_dead_band(self.settings.burn_in_dead_band):
            states_RBME = roller.states(initial_BME, ids, burn_in)
            state_BME, first = states_RBME[-1], np.full(len(ids), batch.constant)
            if self.settings.replay_lost:
                first_B = self._lost_in(reads, states_RBME[1:], ids, answers_B, read)
                state_BME = states_RBME[first_B, torch.arange(len(ids), device=device)]
                # The one place where the host waits for the device: it has the text.
                first = first_B.cpu().numpy()
        if noise is not None:
            state_BME = state_BME + roller.on_device(noise)
        self.learner.train()
        cut_BN = roller.on_device(cut_out(ids, first, left, segment_tokens))
        if not more:
            return cut_BN, answers_B, state_BME
        columns, wanted = more
        columns_BK = roller.on_device(columns - (ids.shape[1] - cut_BN.shape[1]))
        return cut_BN, answers_B, state_BME, columns_BK, roller.on_device(wanted)

    def _lost_in(
        self,
        reads: Answerer,
        states_RBME: Tensor,
        ids: npt.NDArray[Any],
        answers_B: Tensor,
        read: npt.NDArray[Any],
    ) -> Tensor:
        """Finds the segment that each sample of a burn-in begins with, (B,), as ``replay.py`` does,
        from the state after each segment, the text, and the segment of the answer's fact."""
        roller = self._roller
        assert roller is not None, "it has read the burn-in"
        fact_B = roller.on_device(read)
        if self.settings.replay_asks_segment:
            last_BL = roller.on_device(ids[:, -reads.segment_tokens :])
            return bisected_segments(reads, roller, states_RBME, last_BL, answers_B, fact_B)
        question_BQ = roller.on_device(ids[:, -self.data.question_tokens :])
        right_RB = right_answers(reads, roller, states_RBME, question_BQ, answers_B)
        return first_segments(right_RB, fact_B)

    def advance(self, progress: Progress, steps: int, accuracy: float | None) -> Progress:
        return advance(self.settings, progress, self.stages, steps, accuracy)

    def validate(
        self, ema: Any, stage: Stage, device: torch.device, share: Share = ALL
    ) -> dict[str, float]:
        reads = self._reading(ema)
        if self._reader is None or self._reader.answerer is not reads:
            precision = precision_on(device, self.settings.precision)
            self._reader = Reader(reads, device, precision, compile_step=self.settings.compile_step)
        settings, segment_tokens = self.settings, self.learner.segment_tokens
        lengths = {str(stage.segments): stage.tokens}
        if stage.burn_in_segments or stage is self.stages[-1]:
            chosen = settings.validation_segments
            lengths |= {str(count): count * segment_tokens for count in chosen}
        accuracies = {}
        for name, tokens in lengths.items():
            batches = self.data.batches(
                tokens,
                segment_tokens,
                split="validation",
                contrast=stage.contrast,
                bare=stage.bare,
            )
            accuracies[name] = self._reader.accuracy(batches, settings.validation_samples, share)
        return accuracies

    def export(self, folder: Path, ema: Any, trained: Trained) -> None:
        export_checkpoint(folder, ema, self.settings, self.data, trained)


def _require_had(settings: MemoryTaskSettings, task: Task) -> None:
    """Raises ``BadInput`` where settings ask of a task what it does not have."""
    if settings.contrast_share and task.contrasts() is None:
        raise BadInput(
            f"contrast share {settings.contrast_share} of task {settings.task!r}: expected 0, "
            "it has no contrasts"
        )
    if settings.between_share and task.asking_between() is None:
        raise BadInput(
            f"between share {settings.between_share} of task {settings.task!r}: expected 0, "
            "its stories have one question only"
        )
    if settings.closing_questions and task.asking_last(1) is None:
        raise BadInput(
            f"closing questions {settings.closing_questions} of task {settings.task!r}: "
            "expected 0, its stories have one question only"
        )
    if settings.rare_share and task.preferring_rare(settings.rare_share) is None:
        raise BadInput(
            f"rare share {settings.rare_share} of task {settings.task!r}: expected 0, nothing is "
            "rare in its stories"
        )
    if settings.late_facts and task.placement != "ordered":
        raise BadInput(
            f"late facts {settings.late_facts} of task {settings.task!r}: expected 0, "
            "its facts are placed in no order"
        )
    if settings.told_weight and task.told_shape is None:
        raise BadInput(
            f"told weight {settings.told_weight} of task {settings.task!r}: expected 0, its "
            "facts are placed in an order, and a later one may end what an earlier one says (of "
            f"BABILong's {quoted_list(MOVING)} a state is told)"
        )


def _take_weights(answerer: Answerer, settings: MemoryTaskSettings, data: TaskData) -> Checkpoint:
    """Begins with the weights of a checkpoint, and returns it."""
    assert settings.init_from is not None, "asked for"
    checkpoint = load_checkpoint(Path(settings.init_from), settings.task, settings.backbone)
    trained = checkpoint.answerer.rmt
    take_backbone(answerer.rmt.backbone, trained, settings)
    take_memory(answerer.rmt, trained, settings)
    if not checkpoint.data.vocabulary.makes_the_ids_of(data.vocabulary):
        raise BadInput(
            f"init from {settings.init_from!r}: its vocabulary is another, expected the same "
            "--background, of which it is made"
        )
    return checkpoint
