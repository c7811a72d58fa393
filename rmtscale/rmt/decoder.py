"""RMTForCausalLM: a causal language model read segment by segment, with read and write memory.

Shape legend: B batch, N text columns of the input, L segment tokens, M memory, T = L plus 2M,
S segments, E embedding width, V vocabulary.

One segment is ``read*M  text*L  write*M``. Both blocks are fed the same state; the new state is
what comes out at the write positions, which see all of the segment (Bulatov et al. 2022, section
3.2; Bulatov et al. 2024, "Recurrent Memory Transformer").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from rmtscale.errors import BadInput
from rmtscale.rmt.arguments import require_known, require_plain_output
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.compiling import run_plainly
from rmtscale.rmt.config import RMTConfig, decoder_segment_tokens
from rmtscale.rmt.decoder_call import check_call
from rmtscale.rmt.families import FamilyBody
from rmtscale.rmt.generation import generate
from rmtscale.rmt.inference import infer
from rmtscale.rmt.memory import decoder_layout, decoder_state
from rmtscale.rmt.outputs import RMTCausalLMOutput
from rmtscale.rmt.own_head import OwnHead
from rmtscale.rmt.reading import Reading, Window, captured_reading
from rmtscale.rmt.recurrence import (
    Piece,
    collect,
    join,
)
from rmtscale.rmt.sharding import gathering

ACCEPTED = (
    "input_ids, inputs_embeds, attention_mask, labels, shift_labels, memory, keep_logits, "
    "loss_mask, num_items_in_batch, return_dict"
)


class RMTForCausalLM(RMTPreTrainedModel):
    """A recurrent memory around a causal language model of Transformers.

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
        reading = Reading(self, call)
        found = captured_reading(reading, memory)
        kept: list[tuple[Piece, Tensor]] = []
        logits = loss = None
        if found is not None:
            loss, state_BME, logits = found
        elif reading.collects:
            trained = [p for p in self.parameters() if p.requires_grad]
            for extra in (memory, inputs_embeds):
                if extra is not None and extra.requires_grad:
                    trained.append(extra)
            ran: list[Window] = []
            loss = collect(reading.losses(ran, collected=True), trained)
            # Their graph is gone, as that of the loss.
            kept = [(piece, logits.detach()) for piece, logits in ran[0].kept]
            state_BME = ran[0].state_BME.detach()
        else:
            all_ran = list(reading.windows())
            losses = [window.loss for window in all_ran if window.loss is not None]
            if call.scored is not None:
                loss = reading.with_all(torch.stack(losses).sum() / call.scored)
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
        return Reading(self, call).losses([])

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
        state_BME = self.take_up(state_BME)
        hidden_BTE = self.body.hidden(
            self.backbone, decoder_layout(state_BME, self.embed(ids_BL), lengths_B)
        )
        return self._parts(state_BME, ids_BL, lengths_B, hidden_BTE)

    def balanced_step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Runs as ``step`` does, with the loss that keeps experts in balance."""
        state_BME = self.take_up(state_BME)
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

    def logits_of(self, text_BLE: Tensor) -> Tensor:
        """Returns logits, (B, L, V).

        One matrix product: of the three dimensions of a slice torch makes a batch of them, each
        with a copy of the weights.
        """
        text_RE = text_BLE.flatten(0, 1)
        logits_BLV: Tensor = self.head(text_RE).unflatten(0, text_BLE.shape[:2])
        return logits_BLV
