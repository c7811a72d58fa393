"""One call of a decoder, read segment by segment: losses, states, and what is kept of the logits.

Shape legend: B batch (the rows of one step), L segment tokens, M memory, E embedding width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rmtscale.rmt.base import no_grad_unless
from rmtscale.rmt.capturable import draws
from rmtscale.rmt.capture import Inputs
from rmtscale.rmt.captured_training import Results, TrainingStep
from rmtscale.rmt.compiling import never_compiled, of_any_length, run_plainly
from rmtscale.rmt.cross_entropy import summed_cross_entropy
from rmtscale.rmt.decoder_call import Call
from rmtscale.rmt.loss import SegmentLosses
from rmtscale.rmt.memory import last_text
from rmtscale.rmt.recurrence import (
    Piece,
    all_take_part,
    cut_gradient,
    differentiate,
    pieces,
    place_rows,
    recur,
)
from rmtscale.rmt.sharding import require_as_many
from rmtscale.rmt.state_by_state import run_by_state


@dataclass(slots=True)
class Window:
    """The result of one window of segments."""

    state_BME: Tensor
    loss: Tensor | None
    kept: list[tuple[Piece, Tensor]]


class Reading:
    """A model and a call of it.

    Args:
        model: an ``RMTForCausalLM``.
        call: its arguments, checked.
    """

    @run_plainly
    def __init__(self, model: Any, call: Call) -> None:
        self.model, self.call = model, call
        config = model.config
        wanted = config.state_by_state or (model.sharded and len(call.windows) > 1)
        asked = bool(wanted) and model.training and torch.is_grad_enabled()
        self.by_state = asked and call.keep != "all"
        """Only states are kept for the backward pass; not beside logits of all tokens.

        Of sharded weights no gradients can be worked out in ``forward`` (``collect``): windows go
        this way too.
        """
        self.collects = (
            len(call.windows) > 1
            and call.scored is not None
            and config.loss_on == "all"
            and call.keep != "all"
            and not self.by_state
            and not model.sharded
        )
        """Gradients are worked out window by window, inside ``forward``."""

    @run_plainly
    def losses(self, last: list[Window], *, collected: bool = False) -> Iterator[Tensor]:
        """Losses window by window; ``last`` holds the newest window, without its graph's loss.

        In the last of them every parameter takes part, unless ``collect`` sees to that.
        """
        assert self.call.scored is not None, "labels were given"
        left = len(self.call.windows)
        for window in self.windows():
            loss, window.loss = window.loss, None
            last[:] = [window]
            left -= 1
            if loss is not None:
                loss = loss / self.call.scored
                yield loss if left or collected else self.with_all(loss)
                del loss

    def with_all(self, loss: Tensor) -> Tensor:
        """Returns the loss, in which every parameter that is trained takes part."""
        # FSDP2 does without.
        wanted = torch.is_grad_enabled() and not self.model.sharded
        return all_take_part(loss, self.model.parameters()) if wanted else loss

    @run_plainly
    def windows(self) -> Iterator[Window]:
        """Runs all segments; a window of them at a time has one graph."""
        call: Any = self.call
        sharded = self.model.sharded
        inputs = pieces(call.steps, call.text_BN, call.targets_BN, call.rows)
        state_BME = call.state_BME
        if sharded:
            require_as_many(len(call.steps), state_BME.device)
        # Where only the last segment matters, nothing can flow back from an earlier window.
        everywhere = call.keep == "all" or (
            call.scored is not None and self.model.config.loss_on == "all"
        )
        for window in call.windows:
            if window.start:
                before = call.steps[window.start - 1]
                state_BME = cut_gradient(state_BME, call.state_BME, before)
                if sharded:
                    # Every process reduces the same gradients, whichever samples have not begun.
                    state_BME = state_BME + 0 * call.state_BME
            with no_grad_unless(everywhere or window is call.windows[-1]):
                inside = islice(inputs, len(window))
                if self.by_state and torch.is_grad_enabled():
                    result = self._states(inside, state_BME)
                else:
                    result = self.model.gathered(self._window, inside, state_BME)
            state_BME = result.state_BME
            yield result

    @run_plainly
    def _states(self, inputs: Iterable[Piece], state_BME: Tensor) -> Window:
        """A window of which the states alone are kept for the backward pass."""

        @run_plainly
        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None, Tensor | None]:
            one = self.model.gathered(self._window, (piece,), own_BME, alone=True)
            return one.state_BME, one.loss, one.kept[0][1] if one.kept else None

        own, model = list(inputs), self.model
        loss, logits, state_BME = run_by_state(
            segment,
            own,
            state_BME,
            model.parameters(),
            keep_rng=draws(model),
            sharded=model if model.sharded else None,
        )
        return Window(state_BME, loss, [] if logits is None else [(own[-1], logits)])

    @run_plainly
    def _window(self, inputs: Iterable[Piece], state_BME: Tensor, *, alone: bool = False) -> Window:
        """Runs segments; ``alone`` is one that is differentiated as soon as it has run."""
        call, model = self.call, self.model
        recompute = bool(model.config.checkpoint_segments) and model.training and not alone
        training = model.captured_training
        losses = SegmentLosses(
            model.head,
            model.config.pad_vocabulary_to,
            narrow=alone,
            compile_loss=training is not None and training.compiles and not alone,
        )
        scores = call.scored is not None
        last_only = model.config.loss_on == "last"
        kept: list[tuple[Piece, Tensor]] = []

        @run_plainly
        def segment(own_BME: Tensor, piece: Piece) -> tuple[Any, ...]:
            scored = scores and (piece.last or not last_only)
            keep = call.keep if call.keep != "last" or piece.last else "none"
            return self._segment(own_BME, piece, scored, keep)

        for piece, new_BME, (balance, loss, hidden_BLE, logits) in recur(
            segment, inputs, state_BME, recompute=recompute, keep_rng=draws(model)
        ):
            state_BME = new_BME
            if balance is not None and call.scored is not None:
                # The mean over the segments; what is added up here is divided by the labels.
                losses.add(balance * (call.scored / len(call.steps)))
            if loss is not None:
                losses.add(loss)
            if hidden_BLE is not None and piece.targets_BL is not None:
                losses.score(hidden_BLE, piece.targets_BL)
            if logits is not None:
                kept.append((piece, logits))
            del balance, loss, hidden_BLE, logits  # not held while the next segment runs
        return Window(state_BME, losses.result() if losses.total is not None else None, kept)

    @run_plainly
    def _segment(
        self, state_BME: Tensor, piece: Piece, scored: bool, keep: str
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """One recurrent step: new state, auxiliary loss, its loss or what to score, and logits."""
        model, ids_BL = self.model, of_any_length(piece.ids_BL)
        if model.body.balances(model.backbone):
            new_BME, text_BLE, balance = model.balanced_step(state_BME, ids_BL, piece.lengths_B)
        else:
            (new_BME, text_BLE), balance = model.run_step(state_BME, ids_BL, piece.lengths_B), None
        return new_BME, balance, *self._results(text_BLE, piece, scored, keep)

    @never_compiled
    def _results(
        self, text_BLE: Tensor, piece: Piece, scored: bool, keep: str
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss of a segment or the hidden states to score, and its logits to keep."""
        targets_BL, model = piece.targets_BL, self.model
        if keep == "last" and not scored:
            return None, None, model.logits_of(last_text(text_BLE, piece.lengths_B))
        if keep == "none":
            return None, text_BLE if scored else None, None
        logits_BLV = model.logits_of(text_BLE)
        loss = None
        if scored:
            assert targets_BL is not None, "labels were given"
            loss = summed_cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten())
        if keep == "last":
            # A copy, so that the logits of the whole segment are not kept alive by a view.
            return loss, None, last_text(logits_BLV, piece.lengths_B).clone()
        return loss, None, logits_BLV


@run_plainly
def captured_reading(
    reading: Reading, memory: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Returns loss, memory and logits of a captured training step; None where none is replayed.

    Args:
        reading: what is to be read.
        memory: the state that was given, (B, M, E); None is the trained one.
    """
    model: Any = reading.model
    call: Any = reading.call
    training = model.captured_training
    if training is None or call.scored is None or not torch.is_grad_enabled():
        return None
    text_BN = call.text_BN
    rows = place_rows(call.steps, text_BN.shape[0], text_BN.device)

    @run_plainly
    def run(inputs: Inputs, trained: list[Tensor]) -> tuple[Results, list[Tensor]]:
        text_BN, targets_BN, scored, memory, rows = inputs
        state_BME = memory
        if memory is None:
            state_BME = model.initial_state(text_BN.shape[0])
        own = replace(
            call,
            text_BN=text_BN,
            targets_BN=targets_BN,
            scored=scored,
            state_BME=state_BME,
            rows=rows,
        )
        ran: list[Window] = []
        loss, grads = differentiate(Reading(model, own).losses(ran, collected=True), trained)
        kept = ran[-1].kept
        return (loss, ran[-1].state_BME, kept[-1][1] if kept else None), grads

    step = TrainingStep(
        (call.steps, call.keep),
        (text_BN, call.targets_BN, call.scored, memory, rows),
        run,
        "the logits of every token are kept" if call.keep == "all" else None,
    )
    found: tuple[Tensor, Tensor, Tensor | None] | None = training(model, step)
    return found
