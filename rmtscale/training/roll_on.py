"""Samples that later roll-ins go on with, so that states grow as old as in an evaluation.

Shape legend: B batch, N text columns of the input, M memory, E embedding width, Q tokens of the
question.

Most roll-ins of up to 256 segments are of a few dozen, and a fact that slowly drifts away is still
there after each of them. Here the state of a sample, its question and its answer are kept, and a
later roll-in reads other text from there: hundreds of segments later the sample is as old as any.
One that has lost its answer is trained on once more, with the segment that lost it, and then makes
room for a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_TAG = 20_261_127
"""Keeps these random numbers apart from those of the data and of the curriculum."""
_SLOTS = 16
"""Batches that are kept: a sample comes back in a sixteenth of the steps, not in the next one."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rolled:
    """The samples of a roll-in, before it: what is fixed on the host, the state on the device."""

    ids_BN: npt.NDArray[np.int32]
    answers_B: Array
    read_B: Array
    """The segment that the answer's fact is in; -1 where the state has it already."""
    told_B: Array
    """The segment that the last fact is in; -1 where the state has all of them."""
    state_BME: Tensor
    anchor_BME: Tensor
    """Where the state has all facts: what it was when it had settled."""


class Ongoing:
    """What is kept of the samples of earlier roll-ins.

    Args:
        share: of the samples, so many go on where they can; the others begin with new facts.
        seed: of the training.
        question_tokens: Q, at the end of a sample.
    """

    def __init__(self, share: float, seed: int, question_tokens: int) -> None:
        self.share, self.seed, self.question_tokens = share, seed, question_tokens
        self._slots: dict[int, dict[str, Tensor]] = {}

    def take(self, step: int, new: Rolled, other_BN: npt.NDArray[np.int32]) -> Rolled:
        """The samples of a step: those that go on read other text, the rest is new.

        Args:
            step: of the training.
            new: samples with facts.
            other_BN: text without facts; is written to.
        """
        kept = self._slots.get(step % _SLOTS)
        if kept is None or len(kept["known"]) != len(new.answers_B):
            return new
        random = np.random.default_rng((_TAG, self.seed, step))
        on_B = kept["known"].numpy() & (random.random(len(new.answers_B)) < self.share)
        other_BN[:, -self.question_tokens :] = kept["question"].numpy()
        other_BN[~on_B] = new.ids_BN[~on_B]
        on_device_B = torch.from_numpy(on_B).to(new.state_BME.device)
        return Rolled(
            other_BN,
            np.where(on_B, kept["answers"].numpy(), new.answers_B),
            np.where(on_B, -1, new.read_B),
            np.where(on_B, -1, new.told_B),
            torch.where(on_device_B[:, None, None], kept["state"], new.state_BME),
            torch.where(on_device_B[:, None, None], kept["anchor"], new.anchor_BME),
        )

    def keep(
        self, step: int, rolled: Rolled, state_BME: Tensor, anchor_BME: Tensor, kept_B: Array
    ) -> None:
        """What the next roll-in of these samples goes on with.

        Args:
            step: of the training.
            rolled: what was taken.
            state_BME: after the roll-in.
            anchor_BME: when it had settled after its facts.
            kept_B: whether a sample has read its fact and not lost it.
        """
        self._slots[step % _SLOTS] = {
            "state": state_BME.clone(),
            "anchor": anchor_BME.clone(),
            "question": torch.from_numpy(rolled.ids_BN[:, -self.question_tokens :].copy()),
            "answers": torch.from_numpy(rolled.answers_B),
            "known": torch.from_numpy(kept_B),
        }

    def tensors(self) -> dict[str, Tensor]:
        """All of it, to be kept with a training's state."""
        return {
            f"{slot}.{name}": tensor
            for slot, kept in self._slots.items()
            for name, tensor in kept.items()
        }

    def load(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Puts back what ``tensors`` gave."""
        self._slots = {}
        for key, tensor in tensors.items():
            slot, name = key.split(".")
            kept = self._slots.setdefault(int(slot), {})
            kept[name] = tensor.to(device) if name in ("state", "anchor") else tensor
