"""All that a step of a training moves: the model, its EMA copy and the optimizer, whole or cut.

Shape legend: inputs are what the learner takes; tensors of any shape, or None.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from rmtscale.files import remove_folder
from rmtscale.rmt.capture import GraphCapture
from rmtscale.specs.layout import Layout
from rmtscale.study.training.cut_state import load_parts, save_cut_state, stored_state
from rmtscale.study.training.cutting import Cutter, TrainedWeights
from rmtscale.study.training.device import own_device
from rmtscale.study.training.gradients import CutGradients, Found, Gradients, can_capture
from rmtscale.study.training.layout import CUT_STATE, STATE
from rmtscale.study.training.objective import Objective
from rmtscale.study.training.segment_reader import SegmentReader
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.train_state import TrainState, load_train_state, save_train_state


class Learning:
    """One model in training, on one device or shared by several processes.

    Args:
        settings: of the training.
        objective: has the model, on the host so far.
        accelerator: device, precision and processes.
        layout: how these share the weights.

    Raises:
        BadInput: a model that the layout cannot cut.
    """

    def __init__(
        self,
        settings: LoopSettings,
        objective: Objective,
        accelerator: Accelerator,
        layout: Layout,
    ) -> None:
        self.settings, self.layout = settings, layout
        self.device = own_device(accelerator)
        learner, self.ema = objective.learner, objective.ema_copy()
        self.ema.requires_grad_(False)
        cutter = Cutter(layout, self.device, accelerator.process_index)
        self.share = cutter.share
        for model in (learner, self.ema):
            if cutter.cuts:
                cutter.cut(model)
            else:
                self.share.begin_alike(model.to(self.device))
        self.ema.eval()
        # Without a wrapper of several processes: gradients are averaged here.
        self.plain: SegmentReader = accelerator.prepare_model(
            learner, device_placement=False, evaluation_mode=True
        )
        self.trained = TrainedWeights(learner, self.share)
        optimizer = torch.optim.AdamW(
            self.trained.parts,
            lr=settings.learning_rate,
            betas=(0.9, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.optimizer: Any = accelerator.prepare_optimizer(optimizer)
        self._gradients = self._made_gradients(accelerator.backward)

    def _made_gradients(self, backward: Any) -> Gradients | CutGradients:
        learner, capture = self.plain, GraphCapture()
        if learner.cut:
            return CutGradients(learner, backward, self.trained)
        possible = capture.refusal(self.device) is None and can_capture(learner)
        captures = self.settings.cuda_graph and possible
        return Gradients(learner, backward, capture=capture if captures else None, share=self.share)

    def update(self, inputs: tuple[Any, ...], weight: float, rate: float) -> Found:
        """Moves the weights by one batch; nothing in here waits for the device.

        Args:
            inputs: of the model, this process's rows.
            weight: factor of their loss.
            rate: learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        found = self._gradients(*inputs, weight=weight)
        self.trained.clip(self.settings.clip_norm)
        self.optimizer.step()
        return found

    def agree(self, *wanted: bool) -> list[bool]:
        """Tells, on all processes alike, which of these any of them wants."""
        return self.share.agree(self.device, *wanted)

    def load(self, folder: Path) -> TrainState | None:
        """Restores the state in the folder of a training; None where there is none.

        Raises:
            BadInput: what is there is no state, damaged, or of another model.
        """
        source = stored_state(folder)
        if source is None:
            return None
        if self.plain.cut or source.name == CUT_STATE:
            return load_parts(source, self.plain, self.ema, self.trained, self.optimizer)
        return load_train_state(source, self.plain, self.ema, self.optimizer)

    def save(self, folder: Path, state: TrainState) -> None:
        """Keeps a state in the folder of a training; every process has to ask for it.

        Raises:
            BadInput: it cannot be written.
        """
        whole, cut = folder / STATE, folder / CUT_STATE
        if self.plain.cut:
            both = self.plain, self.ema
            save_cut_state(cut, *both, self.trained, self.optimizer, state, self.share)
            if self.share.writes:
                whole.unlink(missing_ok=True)
        elif self.share.writes:
            save_train_state(whole, self.plain, self.ema, self.optimizer, state)
            remove_folder(cut)
