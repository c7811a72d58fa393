"""RMTForSequenceClassification: an encoder read segment by segment, with memory once, in front.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, T = L + M + 3,
S segments, E embedding width, C classes.

One segment is ``[CLS]  memory*M  [SEP]  text*L  [SEP]``; the new state is what comes out at the
memory positions, and the answer is read from the last segment (Bulatov et al. 2024, "Recurrent
Memory Transformer", encoder).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from rmtscale.errors import BadInput
from rmtscale.rmt.arguments import require_known, require_plain_output, require_text
from rmtscale.rmt.base import RMTPreTrainedModel, no_grad_unless
from rmtscale.rmt.capturable import draws
from rmtscale.rmt.capture import Inputs
from rmtscale.rmt.captured_training import Results, TrainingStep
from rmtscale.rmt.compiling import of_any_length, run_plainly
from rmtscale.rmt.config import RMTConfig, encoder_segment_tokens
from rmtscale.rmt.cross_entropy import classification_loss
from rmtscale.rmt.memory import encoder_layout, encoder_state
from rmtscale.rmt.outputs import RMTSequenceClassifierOutput
from rmtscale.rmt.recurrence import (
    Piece,
    all_take_part,
    cut_gradient,
    differentiate,
    pieces,
    place_rows,
    recur,
)
from rmtscale.rmt.segmenting import Step, plan, windows
from rmtscale.rmt.sharding import require_as_many
from rmtscale.rmt.state_by_state import run_by_state
from rmtscale.rmt.validation import (
    require_class_labels,
    require_memory,
    require_vocabulary,
    text_spans,
)

ACCEPTED = (
    "input_ids, inputs_embeds, attention_mask, labels, memory, num_items_in_batch, return_dict"
)


@dataclass(frozen=True, slots=True)
class _Call:
    """The input, and how it is cut."""

    ids_BN: Tensor
    """Ids, (B, N), or embeddings, (B, N, E)."""
    steps: tuple[Step, ...]
    memory: Tensor | None
    """The state before the first segment; None is the trained one."""
    rows: Tensor | None = None
    """The rows of all steps, as ``place_rows`` has them; None where they are still to be placed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The labels, and how the logits are scored by them."""

    labels: Tensor
    problem: str
    items: Tensor | int | None

    def loss(self, logits_BC: Tensor) -> Tensor:
        return classification_loss(logits_BC, self.labels, self.problem, self.items)


class RMTForSequenceClassification(RMTPreTrainedModel):
    """A recurrent memory around an encoder of Transformers with a classification head.

    The text is given without special tokens; ``[CLS]`` and ``[SEP]`` are put in for every segment.

    Example::

        backbone = AutoModelForSequenceClassification.from_pretrained("bert-base-cased")
        config = RMTConfig(segment_size=512, memory_tokens=10, cls_token_id=101, sep_token_id=102)
        model = RMTForSequenceClassification(backbone, config)
        out = model(input_ids, attention_mask, labels=labels)

    Raises:
        BadInput: see ``RMTPreTrainedModel``; also when no ``[CLS]`` or ``[SEP]`` is known.
    """

    causal = False
    _auto = AutoModelForSequenceClassification

    def __init__(self, backbone: nn.Module | RMTConfig, config: RMTConfig | None = None) -> None:
        super().__init__(backbone, config)
        inner = self.config.backbone_config
        for name in ("cls_token_id", "sep_token_id"):
            token_id = getattr(self.config, name)
            token = getattr(inner, name, None) if token_id is None else token_id
            if not isinstance(token, int) or not 0 <= token < self.vocabulary:
                raise BadInput(
                    f"{name} {token!r}: expected a token id of 0 to {self.vocabulary - 1} in "
                    "RMTConfig, the backbone's config has none"
                )
            setattr(self.config, name, token)

    @staticmethod
    def _segment_tokens_of(config: RMTConfig) -> int:
        return encoder_segment_tokens(config)

    @run_plainly
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        memory: Tensor | None = None,
        return_dict: bool | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **given: Any,
    ) -> RMTSequenceClassifierOutput | tuple[Tensor, ...]:
        """Reads the whole input, then answers from the last segment of each sample.

        With ``bptt_segments=k`` the segments before the last k run without a graph: memory in
        training does not depend on the length.

        Args:
            input_ids: (B, N), text only.
            attention_mask: (B, N), 1 at text; padding on the left or on the right of each row.
            labels: (B,) classes; floats of (B,) or (B, C) for the backbone's other problem types.
            memory: state to go on from, (B, M, E); by default the trained initial one.
            return_dict: False returns a tuple (loss, logits, memory) without what is None.
            inputs_embeds: (B, N, E), instead of ``input_ids``.
            num_items_in_batch: the number of labels of a whole step, as in ``RMTForCausalLM``.
            given: what a tokenizer returns beside the ids, which changes nothing here; anything
                else is refused.

        Returns:
            Loss, logits (B, C) and the memory after the last segment.

        Raises:
            BadInput: anything of another shape, dtype or range; before any work.
        """
        require_known("forward", given, ACCEPTED)
        require_plain_output(self.backbone.config)
        weight = self.embedding_VE
        ids_BN = require_text(input_ids, inputs_embeds, weight)
        batch, inner = ids_BN.shape[0], self.backbone.config
        if memory is not None:
            require_memory(memory, batch, self.config.memory_tokens, weight)
        problem = self._problem(labels)
        if labels is not None:
            require_class_labels(labels, batch, inner.num_labels, problem)
        spans = text_spans(ids_BN, attention_mask)
        require_vocabulary(ids_BN, self.vocabulary)
        steps = plan(spans.lengths, self.segment_tokens, self.config.alignment, spans.offsets)

        answer = None if labels is None else _Answer(labels, problem, num_items_in_batch)
        call = _Call(ids_BN, steps, memory)
        loss: Tensor | None = None
        found = self._captured(call, answer)
        if found is not None:
            loss, state_BME, logits_BC = found
        else:
            logits_BC, state_BME = self._read(call)
            if answer is not None:
                loss = answer.loss(logits_BC)
                if torch.is_grad_enabled() and not self.sharded:
                    loss = all_take_part(loss, self.parameters())
        output = RMTSequenceClassifierOutput(loss=loss, logits=logits_BC, memory=state_BME)
        return output.to_tuple() if return_dict is False else output

    @run_plainly
    def _read(self, call: _Call) -> tuple[Tensor, Tensor]:
        """Reads all segments: the logits, (B, C), and the memory after the last."""
        ids_BN, steps = call.ids_BN, call.steps
        initial_BME = call.memory
        if initial_BME is None:
            initial_BME = self.initial_state(ids_BN.shape[0])
        state_BME = initial_BME
        inputs = pieces(steps, ids_BN, None, call.rows)
        if self.sharded:
            require_as_many(len(steps), state_BME.device)
        depth = self.config.bptt_segments if torch.is_grad_enabled() else None
        if not self.config.memory_tokens:
            depth = 1  # nothing leads from an earlier segment to the answer
        parts = windows(len(steps), depth)
        logits_BC = None
        for window in parts:
            if window.start:
                state_BME = cut_gradient(state_BME, initial_BME, steps[window.start - 1])
                if self.sharded:
                    # Every process reduces the same gradients, whichever samples have not begun.
                    state_BME = state_BME + 0 * initial_BME
            with no_grad_unless(window is parts[-1]):
                state_BME, logits_BC = self._window(islice(inputs, len(window)), state_BME)
        assert logits_BC is not None, "every sample ends in the last step"
        return logits_BC, state_BME

    @run_plainly
    def _captured(
        self, call: _Call, answer: _Answer | None
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Loss, memory and logits of a captured training step; None where none is replayed."""
        training = self.captured_training
        if training is None or answer is None or not torch.is_grad_enabled():
            return None
        ids_BN, items, problem = call.ids_BN, answer.items, answer.problem
        placed = place_rows(call.steps, ids_BN.shape[0], ids_BN.device)
        if items is not None:
            items = torch.as_tensor(items, device=ids_BN.device)

        @run_plainly
        def run(inputs: Inputs, trained: list[Tensor]) -> tuple[Results, list[Tensor]]:
            ids_BN, labels, items, memory, placed = inputs
            logits_BC, state_BME = self._read(_Call(ids_BN, call.steps, memory, placed))
            loss = _Answer(labels, problem, items).loss(logits_BC)
            loss, grads = differentiate([loss], trained)
            return (loss, state_BME, logits_BC), grads

        step = TrainingStep(
            (call.steps, problem), (ids_BN, answer.labels, items, call.memory, placed), run
        )
        return training(self, step)  # type: ignore[return-value]

    @run_plainly
    def _window(self, inputs: Iterable[Piece], state_BME: Tensor) -> tuple[Tensor, Tensor | None]:
        """The state after a window of segments and, of the last one, logits, (B, C)."""

        @run_plainly
        def read(
            inputs: Iterable[Piece], state_BME: Tensor, recompute: bool
        ) -> tuple[Tensor, Tensor | None]:
            hidden_BTE = mask_BT = None
            for _, state, (last_BTE, last_mask_BT) in recur(
                self._segment, inputs, state_BME, recompute=recompute, keep_rng=draws(self)
            ):
                state_BME, hidden_BTE, mask_BT = state, last_BTE, last_mask_BT
            if hidden_BTE is None:
                return state_BME, None
            return state_BME, self.body.logits(self.backbone, hidden_BTE, mask_BT)

        if not (self.config.state_by_state and self.training and torch.is_grad_enabled()):
            recompute = bool(self.config.checkpoint_segments) and self.training
            return self.gathered(read, inputs, state_BME, recompute)

        @run_plainly
        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, None, Tensor | None]:
            new_BME, logits_BC = self.gathered(read, (piece,), own_BME, False)
            return new_BME, None, logits_BC

        _, logits_BC, state_BME = run_by_state(
            segment,
            list(inputs),
            state_BME,
            self.parameters(),
            keep_rng=draws(self),
            sharded=self if self.sharded else None,
        )
        return state_BME, logits_BC

    @run_plainly
    def _segment(
        self, state_BME: Tensor, piece: Piece
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One recurrent step: new state and, in the last one, hidden states and their mask."""
        ids_BL = of_any_length(piece.ids_BL)
        new_BME, hidden_BTE, mask_BT = self.run_step(state_BME, ids_BL, piece.lengths_B)
        return (new_BME, hidden_BTE, mask_BT) if piece.last else (new_BME, None, None)

    def step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Runs the backbone on one segment, without the head.

        Returns:
            The state after it, (B, M, E), all hidden states, (B, T, E), and, where rows are
            shorter than others, their mask, (B, T).
        """
        state_BME = self.take_up(state_BME)
        cls, sep = self.config.cls_token_id, self.config.sep_token_id
        rows, embedded = ids_BL.shape[0], ids_BL.is_floating_point()
        like = torch.empty(0, dtype=torch.long, device=ids_BL.device) if embedded else ids_BL
        special_B3 = torch.cat(
            [like.new_full((rows, 1), token) for token in (cls, sep, sep)], dim=1
        )
        if embedded:
            edge_and_text_BLE = torch.cat([self.embed(special_B3).to(ids_BL.dtype), ids_BL], dim=1)
        else:
            # One lookup: each has a gradient as large as the whole table.
            edge_and_text_BLE = self.embed(torch.cat([special_B3, ids_BL], dim=1))
        embeds_BTE, mask_BT = encoder_layout(
            state_BME, edge_and_text_BLE[:, :3], edge_and_text_BLE[:, 3:], lengths_B
        )
        del edge_and_text_BLE
        hidden_BTE = self.body.hidden(self.backbone, embeds_BTE, mask_BT)
        new_BME = self.hand_over(state_BME, encoder_state(hidden_BTE, state_BME.shape[1]))
        return new_BME, hidden_BTE, mask_BT

    @run_plainly
    def _problem(self, labels: Tensor | None) -> str:
        """The problem type: the backbone's, or chosen as Transformers chooses it."""
        inner: Any = self.backbone.config
        if inner.problem_type is not None:
            return str(inner.problem_type)
        if inner.num_labels == 1:
            return "regression"
        if labels is not None and labels.is_floating_point():
            return "multi_label_classification"
        return "single_label_classification"
