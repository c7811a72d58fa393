"""An RMT that answers: the state after the text, read out as one of a few classes.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
K questions, C classes, V words, R rows, S segments, T what is told.

A decoder answers at its last text token: the logits of the answers' own words, out of its
language-model head. Nothing is added to the model, so that a checkpoint is an ordinary RMT, and
``generate`` says the same word. An encoder answers with its classification head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTForCausalLM
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.cross_entropy import IGNORED
from rmtscale.rmt.families import classify
from rmtscale.rmt.recurrence import Piece, recur
from rmtscale.rmt.segmenting import cut
from rmtscale.rmt.state_by_state import Results
from rmtscale.study.training.memory_tasks.told import FactHead, Told
from rmtscale.study.training.segment_reader import SegmentReader, slices


class Answerer(SegmentReader):
    """``(ids, answers, state before them) -> (loss, correct answers)``; where it is given what a
    head has to tell, also the two losses that are in that loss.

    Args:
        rmt: decoder or encoder.
        class_ids: of a decoder, the token id of each class's word.
        compile_step: compile the step of a full segment.
        whole_vocabulary: the loss of a decoder is over all words, not over the classes alone.
        fact_head: adds a loss on the memory, to inputs that it is given for what it has to tell.

    Raises:
        BadInput: an encoder's loss over all words.
    """

    def __init__(
        self,
        rmt: RMTPreTrainedModel,
        class_ids: Sequence[int],
        *,
        compile_step: bool = False,
        whole_vocabulary: bool = False,
        fact_head: FactHead | None = None,
    ) -> None:
        super().__init__(rmt, compile_step=compile_step)
        self.decoder = isinstance(rmt, RMTForCausalLM)
        if whole_vocabulary and not self.decoder:
            raise BadInput("whole vocabulary with an encoder: expected a decoder, which has a head")
        self.whole_vocabulary = whole_vocabulary
        self.fact_head = fact_head
        self.register_buffer("class_ids_C", torch.tensor(class_ids), persistent=False)

    def require_cuttable(self) -> None:
        if self.fact_head is not None:
            raise BadInput(
                f"told weight {self.fact_head.loss_weight} with weights that are cut: expected 0, "
                "or --shard ddp and --tp 1"
            )

    def _step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        rmt: Any = self.rmt
        new_BME, hidden_BTE, *_ = rmt.step(state_BME, ids_BL)
        return new_BME, hidden_BTE

    def answer(self, read_BTE: Tensor) -> Tensor:
        """Logits of the classes after the last column, (B, C), in fp32 or better."""
        return self.rmt.gathered(self._answer, read_BTE)

    def _answer(self, read_BTE: Tensor) -> Tensor:
        if self.decoder:
            return self._class_logits(read_BTE[:, -1])
        return _exact(classify(self.rmt.backbone, read_BTE, None))

    def _words(self, read_BTE: Tensor) -> Tensor:
        """Logits of all words after the last column, (B, V), in fp32 or better; of a decoder."""
        return self.rmt.gathered(self._word_logits, read_BTE[:, -1])

    def _class_logits(self, read_RE: Tensor) -> Tensor:
        head = self.rmt.get_output_embeddings()
        return _exact(F.linear(read_RE, head.weight[self.class_ids_C]))

    def _word_logits(self, read_RE: Tensor) -> Tensor:
        return _exact(F.linear(read_RE, self.rmt.get_output_embeddings().weight))

    def read(self, ids_BN: Tensor, state_BME: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads the whole input, right-aligned: logits (B, C) and the state after it, (B, M, E).

        Args:
            ids_BN: token ids, all rows full.
            state_BME: the state before it; None is the initial one.
        """
        logits_BC, after_BME, *_ = self._scored(self.answer, ids_BN, state_BME)
        return logits_BC, after_BME

    def _scored(
        self,
        score: Callable[[Tensor], Tensor],
        ids_BN: Tensor,
        state_BME: Tensor | None,
        asked: Asked | None = None,
        told: Told | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Scores the last segment, (B, T, E), and returns the state after it, the loss of the
        questions in all segments with that of what the memory tells, times its weight, and that
        loss alone, without it and without a gradient."""
        if state_BME is None:
            state_BME = self.initial(ids_BN.shape[0])
        bounds = cut(ids_BN.shape[1], self.segment_tokens)
        firsts = [first for first, _ in bounds]
        told_losses: list[Tensor] = []

        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None, Tensor | None]:
            new_BME, read_BTE = self.step(own_BME, piece.ids_BL)
            loss = None if asked is None else self._loss_of(asked, read_BTE, piece.start)
            if told is not None and self.fact_head is not None:
                told_loss = self.fact_head(new_BME, told, firsts.index(piece.start))
                told_losses.append(told_loss.detach())
                told_loss = self.fact_head.loss_weight * told_loss
                loss = told_loss if loss is None else loss + told_loss
            if not piece.last:
                return new_BME, loss, None
            return new_BME, loss, read_BTE[:, -1:] if self.decoder else read_BTE

        inputs = slices(ids_BN, bounds)
        if self.by_state:

            def answered(own_BME: Tensor, piece: Piece) -> Results:
                new_BME, loss, read_BTE = segment(own_BME, piece)
                return new_BME, loss, None if read_BTE is None else score(read_BTE)

            loss, logits, after_BME = self.run_by_state(answered, inputs, state_BME)
            assert logits is not None, "the last segment answers"
            return logits, after_BME, loss, None
        after_BME, read_BTE, loss = state_BME, None, None
        for _, new_BME, (own_loss, found) in recur(
            segment, inputs, state_BME, recompute=self.recomputes, keep_rng=self.training
        ):
            after_BME, read_BTE = new_BME, found
            if own_loss is not None:
                loss = own_loss if loss is None else loss + own_loss
        assert read_BTE is not None, "at least one segment"
        told_loss = torch.stack(told_losses).sum() if told_losses else None
        return score(read_BTE), after_BME, loss, told_loss

    def _loss_of(self, asked: Asked, read_BLE: Tensor, start: int) -> Tensor:
        """Sums the losses of the questions that end in one segment, over the number of all.

        Args:
            asked: all questions.
            read_BLE: hidden states of the segment's text.
            start: the segment's first column.
        """
        columns_BK = asked.columns_BK - start
        last = read_BLE.shape[1] - 1
        here_BK = (columns_BK >= 0) & (columns_BK <= last) & (asked.answers_BK >= 0)
        index_BK1 = columns_BK.clamp(0, last)[..., None]
        read_BKE = read_BLE.gather(1, index_BK1.expand(-1, -1, read_BLE.shape[-1]))
        logits = self.rmt.gathered(
            self._word_logits if self.whole_vocabulary else self._class_logits, read_BKE
        )
        answers_BK = asked.answers_BK.clamp(min=0)
        if self.whole_vocabulary:
            ids_C: Any = self.class_ids_C
            answers_BK = ids_C[answers_BK]
        targets_BK = answers_BK.masked_fill(~here_BK, IGNORED)
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets_BK.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return loss / (asked.answers_BK >= 0).sum()

    def forward(
        self,
        ids_BN: Tensor,
        answers_B: Tensor,
        state_BME: Tensor | None = None,
        columns_BK: Tensor | None = None,
        answers_BK: Tensor | None = None,
        told_BST: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Mean cross-entropy over the classes, or all words, and how many last answers are right.

        A head adds its loss times its weight, where it is given what it has to tell. Then there are
        two results more, without a gradient: the cross-entropy alone, and the head's loss.

        Args:
            ids_BN: token ids, all rows full.
            answers_B: the right classes.
            state_BME: the state before the input; None is the initial one.
            columns_BK: of a decoder, the last token of each question, the last one of them the
                input's own: the mean is over all of them. None is that one alone.
            answers_BK: their right classes; negative is no question.
            told_BST: what the head has to tell after each segment, as ``Told`` has it; None is
                without it.
        """
        asked = None
        if columns_BK is not None and answers_BK is not None:
            asked = Asked(columns_BK, answers_BK)
        questions_B = None if asked is None else (asked.answers_BK >= 0).sum(1)
        told = None if told_BST is None else Told(told_BST, questions_B)
        score = self._words if self.whole_vocabulary else self.answer
        logits, _, loss, told_loss = self._scored(score, ids_BN, state_BME, asked, told)
        logits_BC, targets_B = logits, answers_B
        if self.whole_vocabulary:
            ids_C: Any = self.class_ids_C
            logits_BC, targets_B = logits[:, ids_C], ids_C[answers_B]
        if asked is None:
            answer_loss = F.cross_entropy(logits, targets_B)
            loss = answer_loss if loss is None else answer_loss + loss
        assert loss is not None, "every segment has one of the questions"
        correct = (logits_BC.detach().argmax(1) == answers_B).sum()
        if told_loss is None or self.fact_head is None:
            return loss, correct
        if asked is None:
            return loss, correct, answer_loss.detach(), told_loss
        return loss, correct, loss.detach() - self.fact_head.loss_weight * told_loss, told_loss


class Asked(NamedTuple):
    """Several questions of each sample."""

    columns_BK: Tensor
    """Last token of each."""
    answers_BK: Tensor
    """The right classes; negative is no question."""


def _exact(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
