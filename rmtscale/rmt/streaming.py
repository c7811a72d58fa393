"""Tokens fed as they come, the state kept, saved and restored.

Shape legend: B batch, K tokens of one call, L segment tokens, M memory, E embedding width,
V vocabulary.

A stream does not know how long it will become, so it fills segments from the left: however the
tokens are chunked, the result is that of one call with ``alignment="left"``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.files import whole_file
from rmtscale.rmt.graph import SegmentStep, require_evaluation
from rmtscale.rmt.outputs import RMTCausalLMOutput
from rmtscale.rmt.sharding import T, gathering
from rmtscale.rmt.validation import (
    require_ids,
    require_memory,
    require_vocabulary,
    shape_text,
)

STREAM_VERSION = "1"
_TENSORS = ("memory", "pending", "last")


class Stream:
    """Reads tokens of any number at a time, in constant memory.

    Example::

        stream = Stream(model.eval())
        for ids in chunks:            # (1, any number)
            stream.feed(ids)
        out = stream.finish()         # logits of the last token, memory

    Args:
        model: an ``RMTForCausalLM`` in evaluation mode.
        batch_size: B; all rows are fed alike.
        memory: state to go on from, (B, M, E).
        compile_step, cuda_graph: as in ``SegmentStep``.

    Raises:
        BadInput: a model in training mode, or a memory of another shape or dtype.
    """

    def __init__(
        self,
        model: Any,
        batch_size: int = 1,
        *,
        memory: Tensor | None = None,
        compile_step: bool = False,
        cuda_graph: bool | None = None,
    ) -> None:
        self.model = model
        self._make_step = partial(
            SegmentStep, model, batch_size, compile_step=compile_step, cuda_graph=cuda_graph
        )
        self._step = self._make_step()
        if memory is not None:
            self._require_memory(memory)
            self._step.start(memory)
        self._pending_BK = self._step.ids_BL[:, :0]
        self.tokens = 0
        """Tokens of each row so far."""

    def _require_memory(self, memory_BME: Tensor) -> None:
        weight = self.model.embedding_VE
        require_memory(
            memory_BME, self._step.ids_BL.shape[0], self.model.config.memory_tokens, weight
        )

    def _refit(self) -> None:
        """Makes the step anew, with the state it has, where weights have moved since.

        Raises:
            BadInput: a model that was set to training mode since.
        """
        require_evaluation(self.model)
        if not self._step.fits():
            old, self._step = self._step, self._make_step()
            self._step.start(old.state_BME)
            self._step.last_B1E.copy_(old.last_B1E)
            self._pending_BK = self._pending_BK.to(self._step.ids_BL.device)

    @property
    def memory(self) -> Tensor:
        """State after the last *full* segment, (B, M, E)."""
        state_BME: Tensor = self._step.state_BME.clone()
        return state_BME

    @property
    def pending(self) -> int:
        """Tokens of the segment that is not full yet."""
        return int(self._pending_BK.shape[1])

    def gathered(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Runs ``work`` with the weights of the model's root in place (see ``sharding.py``)."""
        found: T = self.model.gathered(work, *args, **kwargs)
        return found

    @torch.no_grad()
    @gathering
    def feed(self, input_ids: Tensor) -> None:
        """Reads (B, K) tokens; every segment that becomes full is run.

        Raises:
            BadInput: another batch size, ids outside the vocabulary, or a model that was set to
                training mode; nothing is read then.
        """
        ids_BK = require_ids(input_ids)
        if ids_BK.shape[0] != self._step.ids_BL.shape[0]:
            raise BadInput(
                f"input_ids of shape {shape_text(ids_BK)}: expected a batch of "
                f"{self._step.ids_BL.shape[0]}, as the stream was made for"
            )
        require_vocabulary(ids_BK, self.model.vocabulary)
        self._refit()
        self.tokens += ids_BK.shape[1]
        size, at = self.model.segment_tokens, 0
        device = self._step.ids_BL.device
        if self.pending:
            at = min(size - self.pending, ids_BK.shape[1])
            first_BK = ids_BK[:, :at].to(device, torch.long)
            self._pending_BK = torch.cat([self._pending_BK, first_BK], dim=1)
            if self.pending == size:
                self._step(self._pending_BK)
                self._pending_BK = self._pending_BK[:, :0]
        while ids_BK.shape[1] - at >= size:
            self._step(ids_BK[:, at : at + size])
            at += size
        if at < ids_BK.shape[1]:
            # A copy: the caller's tensor may be long, or used again.
            self._pending_BK = ids_BK[:, at:].to(device, torch.long).clone()

    def _require_started(self) -> None:
        if not self.tokens:
            raise BadInput("stream of 0 tokens: expected feed() before")
        self._refit()

    @torch.no_grad()
    @gathering
    def logits(self) -> Tensor:
        """Returns logits of the token after the last one fed, (B, 1, V); the stream is unchanged.

        Raises:
            BadInput: nothing was fed yet.
        """
        self._require_started()
        last_B1E = self._step.last_B1E
        if self.pending:
            last_B1E = self.model.step(self._step.state_BME, self._pending_BK)[1][:, -1:]
        logits_B1V: Tensor = self.model.head(last_B1E)
        return logits_B1V

    @torch.no_grad()
    @gathering
    def finish(self) -> RMTCausalLMOutput:
        """Closes the segment that is not full; what is fed next begins a new one.

        Returns:
            Logits of the last token, (B, 1, V), and the memory after it, (B, M, E).

        Raises:
            BadInput: nothing was fed yet.
        """
        self._require_started()
        if self.pending:
            new_BME, text_BLE = self.model.step(self._step.state_BME, self._pending_BK)
            self._step.start(new_BME)
            self._step.last_B1E.copy_(text_BLE[:, -1:])
            self._pending_BK = self._pending_BK[:, :0]
        logits_B1V = self.model.head(self._step.last_B1E)
        return RMTCausalLMOutput(logits=logits_B1V, memory=self.memory)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state of the stream (not the model) as one safetensors file, whole.

        Raises:
            BadInput: it cannot be written.
        """
        step = self._step
        tensors = {
            "memory": step.state_BME,
            "pending": self._pending_BK,
            "last": step.last_B1E,
        }
        facts = {
            "version": STREAM_VERSION,
            "tokens": str(self.tokens),
            "segment_tokens": str(self.model.segment_tokens),
        }
        with whole_file(Path(path)) as part:
            save_file({name: x.contiguous().cpu() for name, x in tensors.items()}, part, facts)

    @torch.no_grad()
    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes on from where ``save`` left off.

        Raises:
            BadInput: not such a file, truncated, of another version, or of another model.
        """
        try:
            with safe_open(path, framework="pt") as opened:
                facts = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise BadInput(f"stream state {str(path)!r}: {error}") from error
        if facts.get("version") != STREAM_VERSION or set(tensors) != set(_TENSORS):
            raise BadInput(
                f"stream state {str(path)!r} of version {facts.get('version')!r}: expected "
                f"{STREAM_VERSION!r}"
            )
        size = str(self.model.segment_tokens)
        if facts.get("segment_tokens") != size or not facts.get("tokens", "").isdigit():
            raise BadInput(
                f"stream state {str(path)!r} has segments of {facts.get('segment_tokens')} "
                f"tokens: expected {size}"
            )
        step = self._step
        pending_BK, last_B1E = tensors["pending"], tensors["last"]
        rows, longest = step.ids_BL.shape
        if (
            pending_BK.ndim != 2
            or pending_BK.shape[0] != rows
            or pending_BK.shape[1] > longest
            or pending_BK.dtype != torch.int64
            or last_B1E.shape != step.last_B1E.shape
        ):
            raise BadInput(f"stream state {str(path)!r}: its tensors are not of this model")
        if pending_BK.numel():
            require_vocabulary(pending_BK, self.model.vocabulary)
        memory_BME = tensors["memory"].to(step.state_BME.device)
        self._require_memory(memory_BME)
        step.start(memory_BME)
        step.last_B1E.copy_(tensors["last"])
        self._pending_BK = tensors["pending"].to(step.ids_BL.device)
        self.tokens = int(facts["tokens"])
