"""An RMT that predicts text: the loss on the last tokens of an input, whatever stands before them.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, E embedding width,
K scored tokens of a segment, S scored tokens of a sample, V vocabulary.

Targets come shifted: the target at a column is the token after the one that is read there. So
every token of a target block is scored, for every method alike.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTForCausalLM
from rmtscale.rmt.cross_entropy import IGNORED
from rmtscale.rmt.loss import SegmentLosses
from rmtscale.rmt.recurrence import Piece, recur
from rmtscale.rmt.segmenting import cut
from rmtscale.study.training.segment_reader import SegmentReader, slices

LOGITS = 2**28
"""Logits that are there at once while losses are read: of 5,461 tokens at 49,152 words, and 2.5 GiB
with what cross-entropy makes of them in fp32."""


class Predictor(SegmentReader):
    """``(ids, targets, scored tokens) -> loss``.

    Without memory segments do not know each other: those in which nothing is scored are not run.

    Args:
        rmt: a decoder.
        compile_step: compile the step of a full segment.
    """

    rmt: RMTForCausalLM

    def __init__(self, rmt: RMTForCausalLM, *, compile_step: bool = False) -> None:
        super().__init__(rmt, compile_step=compile_step)

    def _step(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        return self.rmt.step(state_BME, ids_BL)

    def bounds(self, tokens: int, scored_tokens: int) -> list[tuple[int, int]]:
        """``(start, stop)`` of the segments that are run, of an input of N tokens.

        Raises:
            BadInput: no scored tokens, or more than there are.
        """
        if not 1 <= scored_tokens <= tokens:
            raise BadInput(f"scored tokens {scored_tokens}: expected 1 to {tokens}, the input")
        segments = cut(tokens, self.segment_tokens)
        if self.rmt.config.memory_tokens:
            return segments
        return [(begin, end) for begin, end in segments if end > tokens - scored_tokens]

    def forward(self, ids_BN: Tensor, targets_BN: Tensor, scored_tokens: int) -> Tensor:
        """Mean cross-entropy, in nats, over the targets that are scored and not ignored.

        Gradients flow through all segments that are run; a head is behind the scored ones only,
        and the logits of one segment at a time are there.

        Args:
            ids_BN: token ids, all rows full.
            targets_BN: the next token at each column, ``-100`` where it is not scored.
            scored_tokens: S; only the last so many columns are scored.

        Raises:
            BadInput: no scored tokens, or more than there are.
        """
        first = ids_BN.shape[1] - scored_tokens
        inputs = slices(ids_BN, self.bounds(ids_BN.shape[1], scored_tokens))
        losses = SegmentLosses(self.rmt.get_output_embeddings())

        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None]:
            new_BME, text_BLE = self.step(own_BME, piece.ids_BL)
            scored = text_BLE.shape[1] - max(first - piece.start, 0)
            return new_BME, text_BLE[:, -scored:] if scored > 0 else None

        def targets_of(piece: Piece, count: int) -> Tensor:
            end = piece.start + piece.ids_BL.shape[1]
            return targets_BN[:, end - count : end]

        # On the device: the number of them is not waited for.
        scored = (targets_BN[:, first:] != IGNORED).sum().clamp(min=1)
        state_BME = self.initial(ids_BN.shape[0])
        if self.by_state:

            def scoring(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None, None]:
                new_BME, read_BKE = segment(own_BME, piece)
                if read_BKE is None:
                    return new_BME, None, None
                own = SegmentLosses(self.rmt.get_output_embeddings(), narrow=True)
                own.score(read_BKE, targets_of(piece, read_BKE.shape[1]))
                return new_BME, own.result(), None

            total, _, _ = self.run_by_state(scoring, inputs, state_BME)
            assert total is not None, "the last segment is scored"
            return total / scored
        for piece, _, (read_BKE,) in recur(
            segment, inputs, state_BME, recompute=self.recomputes, keep_rng=self.training
        ):
            if read_BKE is not None:
                losses.score(read_BKE, targets_of(piece, read_BKE.shape[1]))
            del read_BKE  # not held while the next segment runs
        return losses.result() / scored

    @torch.no_grad()
    def token_losses(self, ids_BN: Tensor, targets_BN: Tensor, scored_tokens: int) -> Tensor:
        """Computes the loss of each of the last tokens in nats, (B, S) in fp32; 0 where ignored.

        Raises:
            BadInput: no scored tokens, or more than there are.
        """
        first = ids_BN.shape[1] - scored_tokens
        state_BME = self.initial(ids_BN.shape[0])
        losses = []
        for begin, end in self.bounds(ids_BN.shape[1], scored_tokens):
            new_BME, text_BLE = self.step(state_BME, ids_BN[:, begin:end])
            # A copy: a view would keep all hidden states of the segment alive.
            state_BME = new_BME.to(state_BME.dtype, copy=True)
            if end > first:
                start = max(begin, first)
                losses.append(self.losses(text_BLE[:, start - begin :], targets_BN[:, start:end]))
        return torch.cat(losses, dim=1)

    def losses(self, text_BKE: Tensor, targets_BK: Tensor) -> Tensor:
        """Computes the loss at each position of a part of one segment, (B, K) in fp32.

        Args:
            text_BKE: hidden states, as ``step`` reads them.
            targets_BK: the token after each position.
        """
        return self.rmt.gathered(self._losses, text_BKE, targets_BK)

    def _losses(self, text_BKE: Tensor, targets_BK: Tensor) -> Tensor:
        head = self.rmt.get_output_embeddings()
        rows = max(LOGITS // self.rmt.vocabulary, 1)
        losses = []
        for hidden_RE, targets_R in zip(
            torch.split(text_BKE.flatten(0, 1), rows),
            torch.split(targets_BK.flatten(), rows),
            strict=True,
        ):
            logits_RV = head(hidden_RE)
            exact = torch.promote_types(logits_RV.dtype, torch.float32)
            losses_R = F.cross_entropy(
                logits_RV.to(exact), targets_R, ignore_index=IGNORED, reduction="none"
            )
            losses.append(losses_R.float())
        return torch.cat(losses).view(targets_BK.shape)
