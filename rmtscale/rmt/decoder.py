"""RMTForCausalLM: a causal language model read segment by segment, with read and write memory.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, T = L plus 2M,
S segments, E embedding width, V vocabulary.

One segment is ``read*M  text*L  write*M``. Both blocks are fed the same state; the new state is
what comes out at the write positions, which see all of the segment (Bulatov et al. 2022, section
3.2; Bulatov et al. 2024, "Recurrent Memory Transformer").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from rmtscale.errors import BadInput
from rmtscale.rmt.arguments import require_known, require_plain_output
from rmtscale.rmt.base import RMTPreTrainedModel, no_grad_unless
from rmtscale.rmt.capturable import draws
from rmtscale.rmt.capture import Inputs
from rmtscale.rmt.captured_training import Results, TrainingStep
from rmtscale.rmt.compiling import never_compiled, of_any_length, run_plainly
from rmtscale.rmt.config import RMTConfig, decoder_segment_tokens
from rmtscale.rmt.decoder_call import Call, check_call
from rmtscale.rmt.families import FamilyBody
from rmtscale.rmt.generation import generate
from rmtscale.rmt.inference import infer
from rmtscale.rmt.loss import SegmentLosses, summed_cross_entropy
from rmtscale.rmt.memory import decoder_layout, decoder_state, last_text
from rmtscale.rmt.outputs import RMTCausalLMOutput
from rmtscale.rmt.own_head import OwnHead
from rmtscale.rmt.recurrence import (
    Piece,
    all_take_part,
    collect,
    cut_gradient,
    differentiate,
    join,
    pieces,
    place_rows,
    recur,
)
from rmtscale.rmt.sharding import gathering, require_as_many
from rmtscale.rmt.state_by_state import run_by_state

ACCEPTED = (
    "input_ids, inputs_embeds, attention_mask, labels, shift_labels, memory, keep_logits, "
    "loss_mask, num_items_in_batch, return_dict"
)


@dataclass(slots=True)
class _Window:
    """The result of one window of segments."""

    state_BME: Tensor
    loss: Tensor | None
    kept: list[tuple[Piece, Tensor]]


class RMTForCausalLM(RMTPreTrainedModel):
    """A recurrent memory around any causal language model of Transformers.

    Example::

        backbone = AutoModelForCausalLM.from_pretrained("gpt2")
        model = RMTForCausalLM(backbone, RMTConfig(segment_size=1000, memory_tokens=2))
        out = model(input_ids, labels=input_ids)
        out.loss.backward()
        out = model(more_ids, memory=out.memory.detach())

    Raises:
        BadInput: see ``RMTPreTrainedModel``.
    """

    causal = True
    _auto = AutoModelForCausalLM

    @staticmethod
    def _segment_tokens_of(config: RMTConfig) -> int:
        return decoder_segment_tokens(config)

    @classmethod
    def can_generate(cls) -> bool:
        """Says no to Transformers, whose own way of generating is not the one here."""
        return False

    @property
    def generation_config(self) -> Any:
        """The settings of ``generate``, which are the backbone's."""
        return self.backbone.generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig | None) -> None:
        # Transformers sets None before there is a backbone.
        if config is not None:
            self.backbone.generation_config = config

    def get_output_embeddings(self) -> Any:
        return self.backbone.get_output_embeddings()

    @property
    def head(self) -> Any:
        """Hidden states of any number of rows to logits, as the backbone makes them."""
        if isinstance(self.body, FamilyBody):
            return self.get_output_embeddings()
        return OwnHead(self.body, self.backbone)

    @run_plainly
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        memory: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        keep_logits: str | None = None,
        loss_mask: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
        **given: Any,
    ) -> RMTCausalLMOutput | tuple[Tensor, ...]:
        """Reads the whole input, segment by segment.

        The label at column j is predicted from the text before it, across segment boundaries
        too: the last text token of a segment predicts the first token of the next. So every label
        but the first of its sample is scored exactly once, unless it is ``-100`` or False in
        ``loss_mask``. With ``loss_on="last"`` the labels scored are those predicted *in* the last
        segment (its own but the first, which the segment before predicts). The loss is the sum
        over all of them, divided once by their number.

        With ``bptt_segments=k`` and a loss on all labels, the gradient of each window of k
        segments is worked out in here and its graph is freed before the next one runs (see
        ``recurrence.collect``); ``loss.backward()`` hands them out, once. Segments from which no
        gradient can come (a loss on the last segment, before its window) run without a graph.

        Args:
            input_ids: (B, N).
            attention_mask: (B, N), 1 at text; padding on the left or on the right of each row.
            labels: (B, N), not shifted.
            memory: state to go on from, (B, M, E); by default the trained initial one.
            inputs_embeds: (B, N, E), instead of ``input_ids``.
            keep_logits: ``none``, ``last`` or ``all``; the config's by default. ``all`` needs
                memory in proportion to the length.
            loss_mask: (B, N), True at labels that count.
            num_items_in_batch: the number of labels of a whole step, of which this call sees a
                part: the sum of the losses is divided by it, so that the losses of the parts add
                up to that of the whole. Without labels all logits are kept, for a trainer that
                works out the loss itself.
            given: ``shift_labels``, (B, N), instead of ``labels``: what each column predicts (not
                in the signature, where the trainer would take it for one more kind of labels);
                what a tokenizer returns beside the ids, which changes nothing here; anything else
                is refused.
            return_dict: False returns a tuple (loss, logits, memory) without what is None.

        Returns:
            Loss, logits and the memory after the last segment.

        Raises:
            BadInput: anything of another shape, dtype or range; before any work.
        """
        shift_labels = given.pop("shift_labels", None)
        require_known("forward", given, ACCEPTED)
        require_plain_output(self.backbone.config)
        self._warn_of_frozen_memory()
        call = check_call(
            self,
            input_ids,
            attention_mask,
            labels,
            memory,
            keep_logits=keep_logits,
            loss_mask=loss_mask,
            inputs_embeds=inputs_embeds,
            shift_labels=shift_labels,
            num_items_in_batch=num_items_in_batch,
        )
        found = self._captured(call, memory)
        kept: list[tuple[Piece, Tensor]] = []
        logits = loss = None
        if found is not None:
            loss, state_BME, logits = found
        elif self._collects(call):
            trained = [p for p in self.parameters() if p.requires_grad]
            for extra in (memory, inputs_embeds):
                if extra is not None and extra.requires_grad:
                    trained.append(extra)
            ran: list[_Window] = []
            loss = collect(self._losses(call, ran, collected=True), trained)
            # Their graph is gone, as that of the loss.
            kept = [(piece, logits.detach()) for piece, logits in ran[0].kept]
            state_BME = ran[0].state_BME.detach()
        else:
            all_ran = list(self._run(call))
            losses = [window.loss for window in all_ran if window.loss is not None]
            if call.scored is not None:
                loss = self._with_all(torch.stack(losses).sum() / call.scored)
            state_BME = all_ran[-1].state_BME
            kept = [pair for window in all_ran for pair in window.kept]
        if kept and call.keep == "last":
            logits = kept[-1][1]
        elif call.keep == "all":
            logits = join(kept, *call.text_BN.shape[:2])
        output = RMTCausalLMOutput(loss=loss, logits=logits, memory=state_BME)
        return output.to_tuple() if return_dict is False else output

    @torch.no_grad()
    @gathering
    def infer(
        self,
        input_ids: Tensor | None = None,
        memory: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        keep_logits: str = "last",
        compile_step: bool = False,
        cuda_graph: bool | None = None,
        **given: Any,
    ) -> RMTCausalLMOutput:
        """Reads an input of any length, in memory that does not depend on it.

        The same numbers as ``forward`` without labels, but full segments run as one CUDA graph
        (where there is CUDA), compiled if asked, and shorter ones of a length that comes again
        too. What was captured is kept for the next call.

        Args:
            input_ids: (B, N), on any device.
            memory: state to go on from, (B, M, E).
            inputs_embeds: (B, N, E), instead of ``input_ids``; read eagerly.
            keep_logits: ``none`` or ``last``.
            compile_step: compile the segment step; the first call takes long.
            cuda_graph: False never captures; None and True capture where that works.
            given: as in ``forward``; an ``attention_mask`` has to be all ones.

        Returns:
            Logits (B, 1, V) of the last token, or None, and the memory after it.

        Raises:
            BadInput: as ``forward``; also a model in training mode.
        """
        return infer(
            self,
            input_ids,
            memory,
            inputs_embeds=inputs_embeds,
            keep_logits=keep_logits,
            compile_step=compile_step,
            cuda_graph=cuda_graph,
            **given,
        )

    @gathering
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        memory: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> Any:
        """Goes on with the text, for any length; a full segment is rolled over into a new one.

        Segments are filled from the left: each token is what ``forward`` with
        ``alignment="left"`` on everything before it predicts.

        Args:
            input_ids: (B, N) prompts.
            attention_mask: (B, N), 1 at text.
            memory: state to go on from, (B, M, E).
            inputs_embeds: (B, N, E), instead of ``input_ids``.
            generation_config: Transformers' settings; the backbone's by default.
            generator: random numbers for sampling.
            settings: single settings on top: ``max_new_tokens``, ``do_sample``, ``temperature``,
                ``top_k``, ``top_p``, ``eos_token_id``, ... What is None is off; what is not
                followed is refused. What a tokenizer returns beside the ids may stand here.

        Returns:
            The input followed by the new tokens, (B, N + new); rows that ended are padded. With
            ``return_dict_in_generate`` an ``RMTGenerateOutput``, which has the state as well.

        Raises:
            BadInput: as ``forward``; a setting that is not supported; a model in training mode.
        """
        return generate(
            self,
            input_ids,
            attention_mask,
            memory,
            inputs_embeds=inputs_embeds,
            generation_config=generation_config,
            generator=generator,
            **settings,
        )

    def window_losses(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        memory: Tensor | None = None,
        loss_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        shift_labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **given: Any,
    ) -> Iterator[Tensor]:
        """Yields the loss of each window of ``bptt_segments`` segments, to differentiate in turn.

        ::

            for loss in model.window_losses(input_ids, labels=input_ids):
                loss.backward()

        leaves the gradients of ``model(...).loss.backward()`` and has the activations of at most
        ``bptt_segments`` segments alive, because each graph is gone before the next is made. The
        losses add up to the loss of ``forward``.

        Raises:
            BadInput: as ``forward``.
        """
        require_known("window_losses", given, ACCEPTED)
        call = check_call(
            self,
            input_ids,
            attention_mask,
            input_ids if labels is None else labels,
            memory,
            keep_logits="none",
            loss_mask=loss_mask,
            inputs_embeds=inputs_embeds,
            shift_labels=shift_labels,
            num_items_in_batch=num_items_in_batch,
        )
        if call.scored is None:
            raise BadInput("inputs_embeds without labels: expected labels or shift_labels")
        return self._losses(call, [])

    @run_plainly
    def _losses(
        self, call: Call, last: list[_Window], *, collected: bool = False
    ) -> Iterator[Tensor]:
        """Losses window by window; ``last`` holds the newest window, without its graph's loss.

        In the last of them every parameter takes part, unless ``collect`` sees to that.
        """
        assert call.scored is not None, "labels were given"
        left = len(call.windows)
        for window in self._run(call):
            loss, window.loss = window.loss, None
            last[:] = [window]
            left -= 1
            if loss is not None:
                loss = loss / call.scored
                yield loss if left or collected else self._with_all(loss)
                del loss

    @run_plainly
    def _captured(
        self, call: Call, memory: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Loss, memory and logits of a captured training step; None where none is replayed."""
        training = self.captured_training
        if training is None or call.scored is None or not torch.is_grad_enabled():
            return None
        text_BN = call.text_BN
        rows = place_rows(call.steps, text_BN.shape[0], text_BN.device)

        @run_plainly
        def run(inputs: Inputs, trained: list[Tensor]) -> tuple[Results, list[Tensor]]:
            text_BN, targets_BN, scored, memory, rows = inputs
            state_BME = memory
            if memory is None:
                state_BME = self.memory(self.embedding_VE, text_BN.shape[0])
            own = replace(
                call,
                text_BN=text_BN,
                targets_BN=targets_BN,
                scored=scored,
                state_BME=state_BME,
                rows=rows,
            )
            ran: list[_Window] = []
            loss, grads = differentiate(self._losses(own, ran, collected=True), trained)
            kept = ran[-1].kept
            return (loss, ran[-1].state_BME, kept[-1][1] if kept else None), grads

        step = TrainingStep(
            (call.steps, call.keep),
            (text_BN, call.targets_BN, call.scored, memory, rows),
            run,
            "the logits of every token are kept" if call.keep == "all" else None,
        )
        return training(self, step)  # type: ignore[return-value]

    def _warn_of_frozen_memory(self) -> None:
        frozen = self.training and not any(p.requires_grad for p in self.memory.parameters())
        if frozen and self.config.memory_tokens and vars(self).get("peft_config"):
            warnings.warn(
                "peft around an RMT freezes its initial memory: modules_to_save=['memory'] trains "
                "it, and so does peft around the backbone, before it is wrapped",
                stacklevel=3,
            )

    def prepare_inputs_for_generation(self, *_: Any, **__: Any) -> None:
        """Has to be there for peft's causal models; never called by ``generate`` here.

        Raises:
            BadInput: always.
        """
        raise BadInput("prepare_inputs_for_generation of an RMT: expected model.generate")

    def _with_all(self, loss: Tensor) -> Tensor:
        """The loss, in which every parameter that is trained takes part."""
        # FSDP2 does without.
        wanted = torch.is_grad_enabled() and not self.sharded
        return all_take_part(loss, self.parameters()) if wanted else loss

    @run_plainly
    def _collects(self, call: Call) -> bool:
        """Whether gradients are worked out window by window, inside ``forward``."""
        return (
            len(call.windows) > 1
            and call.scored is not None
            and self.config.loss_on == "all"
            and call.keep != "all"
            and not self._by_state(call)
            and not self.sharded
        )

    @run_plainly
    def _by_state(self, call: Call) -> bool:
        """Whether only states are kept for the backward pass; not beside logits of all tokens.

        Of sharded weights no gradients can be worked out in ``forward`` (``collect``): windows go
        this way too.
        """
        wanted = self.config.state_by_state or (self.sharded and len(call.windows) > 1)
        asked = bool(wanted) and self.training and torch.is_grad_enabled()
        return asked and call.keep != "all"

    @run_plainly
    def _run(self, call: Call) -> Iterator[_Window]:
        inputs = pieces(call.steps, call.text_BN, call.targets_BN, call.rows)
        state_BME, by_state = call.state_BME, self._by_state(call)
        if self.sharded:
            require_as_many(len(call.steps), state_BME.device)
        # Where only the last segment matters, nothing can flow back from an earlier window.
        everywhere = call.keep == "all" or (
            call.scored is not None and self.config.loss_on == "all"
        )
        for window in call.windows:
            if window.start:
                before = call.steps[window.start - 1]
                state_BME = cut_gradient(state_BME, call.state_BME, before)
                if self.sharded:
                    # Every process reduces the same gradients, whichever samples have not begun.
                    state_BME = state_BME + 0 * call.state_BME
            with no_grad_unless(everywhere or window is call.windows[-1]):
                inside = islice(inputs, len(window))
                if by_state and torch.is_grad_enabled():
                    result = self._states(call, inside, state_BME)
                else:
                    result = self.gathered(self._window, call, inside, state_BME)
            state_BME = result.state_BME
            yield result

    @run_plainly
    def _states(self, call: Call, inputs: Iterable[Piece], state_BME: Tensor) -> _Window:
        """A window of which the states alone are kept for the backward pass."""

        @run_plainly
        def segment(own_BME: Tensor, piece: Piece) -> tuple[Tensor, Tensor | None, Tensor | None]:
            one = self.gathered(self._window, call, (piece,), own_BME, alone=True)
            return one.state_BME, one.loss, one.kept[0][1] if one.kept else None

        own = list(inputs)
        loss, logits, state_BME = run_by_state(
            segment,
            own,
            state_BME,
            self.parameters(),
            keep_rng=draws(self),
            sharded=self if self.sharded else None,
        )
        return _Window(state_BME, loss, [] if logits is None else [(own[-1], logits)])

    @run_plainly
    def _window(
        self, call: Call, inputs: Iterable[Piece], state_BME: Tensor, *, alone: bool = False
    ) -> _Window:
        """Runs segments; ``alone`` is one that is differentiated as soon as it has run."""
        recompute = bool(self.config.checkpoint_segments) and self.training and not alone
        training = self.captured_training
        losses = SegmentLosses(
            self.head,
            self.config.pad_vocabulary_to,
            narrow=alone,
            compile_loss=training is not None and training.compiles and not alone,
        )
        scores = call.scored is not None
        last_only = self.config.loss_on == "last"
        kept: list[tuple[Piece, Tensor]] = []

        @run_plainly
        def segment(own_BME: Tensor, piece: Piece) -> tuple[Any, ...]:
            scored = scores and (piece.last or not last_only)
            keep = call.keep if call.keep != "last" or piece.last else "none"
            return self._segment(own_BME, piece, scored, keep)

        for piece, new_BME, (balance, loss, hidden_BLE, logits) in recur(
            segment, inputs, state_BME, recompute=recompute, keep_rng=draws(self)
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
        return _Window(state_BME, losses.result() if losses.total is not None else None, kept)

    @run_plainly
    def _segment(
        self, state_BME: Tensor, piece: Piece, scored: bool, keep: str
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """One recurrent step: new state, auxiliary loss, its loss or what to score, and logits."""
        ids_BL = of_any_length(piece.ids_BL)
        if self.body.balances(self.backbone):
            new_BME, text_BLE, balance = self._balanced_step(state_BME, ids_BL, piece.lengths_B)
        else:
            (new_BME, text_BLE), balance = self.run_step(state_BME, ids_BL, piece.lengths_B), None
        return new_BME, balance, *self._results(text_BLE, piece, scored, keep)

    @never_compiled
    def _results(
        self, text_BLE: Tensor, piece: Piece, scored: bool, keep: str
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss of a segment or the hidden states to score, and its logits to keep."""
        targets_BL = piece.targets_BL
        if keep == "last" and not scored:
            return None, None, self._head(last_text(text_BLE, piece.lengths_B))
        if keep == "none":
            return None, text_BLE if scored else None, None
        logits_BLV = self._head(text_BLE)
        loss = None
        if scored:
            assert targets_BL is not None, "labels were given"
            loss = summed_cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten())
        if keep == "last":
            # A copy, so that the logits of the whole segment are not kept alive by a view.
            return loss, None, last_text(logits_BLV, piece.lengths_B).clone()
        return loss, None, logits_BLV

    def step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the backbone on one segment, without the head.

        Args:
            state_BME: the state before the segment, (B, M, E).
            ids_BL: its text, (B, L), or the embeddings of it, (B, L, E).
            lengths_B: text tokens of each row, where rows are padded on the right.

        Returns:
            The state after it, (B, M, E), and the hidden states of the text, (B, L, E).
        """
        hidden_BTE = self.body.hidden(
            self.backbone, decoder_layout(state_BME, self.embed(ids_BL), lengths_B)
        )
        return self._parts(state_BME, ids_BL, lengths_B, hidden_BTE)

    def _balanced_step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Runs as ``step`` does, with the loss that keeps experts in balance."""
        hidden_BTE, balance = self.body.hidden_and_balance(
            self.backbone, decoder_layout(state_BME, self.embed(ids_BL), lengths_B)
        )
        return *self._parts(state_BME, ids_BL, lengths_B, hidden_BTE), balance

    def _parts(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None, hidden_BTE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The state after a segment, (B, M, E), and the hidden states of its text, (B, L, E)."""
        memory = state_BME.shape[1]
        new_BME = self.hand_over(state_BME, decoder_state(hidden_BTE, memory, lengths_B))
        return new_BME, hidden_BTE[:, memory : memory + ids_BL.shape[1]]

    def _head(self, text_BLE: Tensor) -> Tensor:
        """Logits, (B, L, V). One matrix product: of the three dimensions of a slice torch makes a
        batch of them, each with a copy of the weights."""
        text_RE = text_BLE.flatten(0, 1)
        logits_BLV: Tensor = self.head(text_RE).unflatten(0, text_BLE.shape[:2])
        return logits_BLV
