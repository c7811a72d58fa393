"""Text as an objective: the next token of a target block, after its history or none."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rmtscale.study.tasks.blocks import IGNORED, TokenBatch
from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.curriculum import Draw, Progress, Stage
from rmtscale.study.training.device import autocast, precision_on
from rmtscale.study.training.language.backbone import build_text_rmt
from rmtscale.study.training.language.beginning import begun_with
from rmtscale.study.training.language.checkpoint import export_language_checkpoint
from rmtscale.study.training.language.curriculum import advance_text, draw_text, plan_text_stages
from rmtscale.study.training.language.data import LanguageData
from rmtscale.study.training.language.flops import sample_flops
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.language.repeating import repeated, repeats
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.prefetch import Batch
from rmtscale.study.training.share import ALL, Share


class LanguageObjective(Objective):
    """``language-modeling`` and ``lemma-proof``.

    Args:
        settings: of the training.
        cache: folder of the packed text.

    Raises:
        BadInput: no such text, tokenizer or backbone, or no document that is long enough.
    """

    measure = "loss"
    learner: Predictor

    def __init__(self, settings: LanguageSettings, cache: Path) -> None:
        self.settings: LanguageSettings = settings
        self.data = LanguageData(settings, cache)
        self.stages = plan_text_stages(settings)
        self._source = self.data.source("train")
        self.data_digest = f"{self.data.tokenizer.digest}-{self._source.digest}"
        tokenizer = self.data.tokenizer
        rmt = build_text_rmt(settings, tokenizer, begun_with(settings, tokenizer))
        self.learner = Predictor(rmt, compile_step=settings.compile_step)
        self._flops: dict[int, int] = {}

    def ema_copy(self) -> Predictor:
        return Predictor(copy.deepcopy(self.learner.rmt))

    def batch(self, step: int, current: int) -> Batch:
        drawn = draw_text(self.settings, self.stages, current, step)
        samples = self._source.drawn(
            self.settings.seed, step, self.settings.batch_size, drawn.tokens
        )
        segments = self.stages[drawn.stage].segments
        scored = self.settings.scored_tokens_of(segments)
        again = repeats(self.settings, step, segments)
        if again:
            end_of_text = self.data.tokenizer.end_of_text
            samples = repeated(samples, self.settings.segment_tokens, end_of_text)
        batch = Batch(step, drawn, _tensors(samples), scored, 0, repeats=again)
        return replace(batch, scored=self.scored(batch))

    def scored(self, batch: Batch) -> int:
        return int((batch.inputs[1][:, -batch.constant :] != IGNORED).sum())

    def advance(self, progress: Progress, steps: int, accuracy: float | None) -> Progress:
        del accuracy
        return advance_text(self.settings, progress, self.stages, steps)

    def validate(
        self, ema: Any, stage: Stage, device: torch.device, share: Share = ALL
    ) -> dict[str, float]:
        """Loss in nats per token; at every length of the same targets."""
        settings = self.settings
        counts = {stage.segments}
        if stage is self.stages[-1]:
            counts |= set(settings.validation_segments)
        longest = max(counts | {self.stages[-1].segments}) * settings.segment_tokens
        needed = longest - settings.scored_tokens
        source = self.data.source("validation", max(settings.least_history_tokens, needed))
        losses = {}
        with autocast(device, precision_on(device, settings.precision)):
            for count in sorted(counts):
                read = count * settings.segment_tokens
                scored = settings.scored_tokens_of(count)
                total, tokens = 0.0, 0
                given = source.batches(read, settings.batch_size, settings.validation_samples)
                for batch, counted in share.dealt(given):
                    ids_BN, targets_BN = (tensor.to(device) for tensor in _tensors(batch))
                    losses_BC = ema.token_losses(ids_BN, targets_BN, scored)
                    if not counted:
                        continue
                    total += float(losses_BC.double().sum())
                    tokens += int((batch.targets[:, -scored:] >= 0).sum())
                sums = torch.tensor([total, tokens], dtype=torch.float64, device=device)
                total, tokens = share.total(sums).tolist()
                losses[str(count)] = total / tokens if tokens else math.nan
        return losses

    def sample_flops(self, draw: Draw) -> int:
        segments = self.stages[draw.stage].segments
        if segments not in self._flops:
            self._flops[segments] = sample_flops(
                self.learner.rmt, self.settings, segments, mode="train"
            )
        return self._flops[segments]

    def export(self, folder: Path, ema: Any, trained: Trained) -> None:
        export_language_checkpoint(folder, ema, self.settings, self.data.tokenizer, trained)


def _tensors(batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.ids), torch.from_numpy(batch.targets)
