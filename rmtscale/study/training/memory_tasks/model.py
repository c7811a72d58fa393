"""An RMT that answers: the state after the text, read out as one of a few classes.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
C classes, V words.

A decoder answers at its last text token: the logits of the answers' own words, out of its
language-model head. Nothing is added to the model, so that a checkpoint is an ordinary RMT, and
``generate`` says the same word. An encoder answers with its classification head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTForCausalLM
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.families import classify
from rmtscale.rmt.recurrence import Piece, recur
from rmtscale.rmt.segmenting import cut
from rmtscale.study.training.segment_reader import SegmentReader, slices


class Answerer(SegmentReader):
    """``(ids, answers, state before them) -> (loss, correct answers)``.

    Args:
        rmt: decoder or encoder.
        class_ids: of a decoder, the token id of each class's word.
        compile_step: compile the step of a full segment.
        whole_vocabulary: the loss of a decoder is over all words, not over the classes alone.

    Raises:
        BadInput: two classes with the same id, or an encoder's loss over all words.
    """

    def __init__(
        self,
        rmt: RMTPreTrainedModel,
        class_ids: Sequence[int],
        *,
        compile_step: bool = False,
        whole_vocabulary: bool = False,
    ) -> None:
        super().__init__(rmt, compile_step=compile_step)
        if len(set(class_ids)) != len(class_ids):
            raise BadInput(
                f"ids of the answers {tuple(class_ids)}: expected each answer to begin with a "
                "token of its own in this vocabulary"
            )
        self.decoder = isinstance(rmt, RMTForCausalLM)
        if whole_vocabulary and not self.decoder:
            raise BadInput("whole vocabulary with an encoder: expected a decoder, which has a head")
        self.whole_vocabulary = whole_vocabulary
        self.register_buffer("class_ids_C", torch.tensor(class_ids), persistent=False)

    def _step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        rmt: Any = self.rmt
        new_BME, hidden_BTE, *_ = rmt.step(state_BME, ids_BL)
        return new_BME, hidden_BTE[:, -1:] if self.decoder else hidden_BTE

    def answer(self, read_BTE: Tensor) -> Tensor:
        """Logits of the classes, (B, C), in fp32 or better."""
        return self.rmt.gathered(self._answer, read_BTE)

    def _words(self, read_BTE: Tensor) -> Tensor:
        """Logits of all words, (B, V), in fp32 or better; of a decoder."""
        return self.rmt.gathered(self._all_words, read_BTE)

    def _all_words(self, read_BTE: Tensor) -> Tensor:
        logits_BV = F.linear(read_BTE[:, -1], self.rmt.get_output_embeddings().weight)
        return logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))

    def _answer(self, read_BTE: Tensor) -> Tensor:
        if self.decoder:
            head = self.rmt.get_output_embeddings()
            logits_BC = F.linear(read_BTE[:, -1], head.weight[self.class_ids_C])
        else:
            logits_BC = classify(self.rmt.backbone, read_BTE, None)
        return logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32))

    def read(self, ids_BN: Tensor, state_BME: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads the whole input, right-aligned: logits (B, C) and the state after it, (B, M, E).

        Args:
            ids_BN: token ids, all rows full.
            state_BME: the state before it; None is the initial one.
        """
        return self._scored(self.answer, ids_BN, state_BME)

    def _scored(
        self, score: Callable[[Tensor], Tensor], ids_BN: Tensor, state_BME: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Scores the last segment, (B, T, E), and returns the state after it."""
        if state_BME is None:
            state_BME = self.initial(ids_BN.shape[0])
        bounds = cut(ids_BN.shape[1], self.segment_tokens)

        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None]:
            new_BME, read_BTE = self.step(own_BME, piece.ids_BL)
            return new_BME, read_BTE if piece.last else None

        inputs = slices(ids_BN, bounds)
        if self.by_state:

            def answered(own_BME: Tensor, piece: Piece) -> tuple[Tensor, None, Tensor | None]:
                new_BME, read_BTE = segment(own_BME, piece)
                return new_BME, None, None if read_BTE is None else score(read_BTE)

            _, logits, after_BME = self.run_by_state(answered, inputs, state_BME)
            assert logits is not None, "the last segment answers"
            return logits, after_BME
        after_BME, read_BTE = state_BME, None
        for _, new_BME, (found,) in recur(
            segment, inputs, state_BME, recompute=self.recomputes, keep_rng=self.training
        ):
            after_BME, read_BTE = new_BME, found
        assert read_BTE is not None, "at least one segment"
        return score(read_BTE), after_BME

    def forward(
        self, ids_BN: Tensor, answers_B: Tensor, state_BME: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy over the classes, or all words, and how many answers are right.

        Args:
            ids_BN: token ids, all rows full.
            answers_B: the right classes.
            state_BME: the state before the input; None is the initial one.
        """
        if self.whole_vocabulary:
            logits_BV, _ = self._scored(self._words, ids_BN, state_BME)
            ids_C: Any = self.class_ids_C
            loss, logits_BC = F.cross_entropy(logits_BV, ids_C[answers_B]), logits_BV[:, ids_C]
        else:
            logits_BC, _ = self._scored(self.answer, ids_BN, state_BME)
            loss = F.cross_entropy(logits_BC, answers_B)
        correct = (logits_BC.detach().argmax(1) == answers_B).sum()
        return loss, correct
