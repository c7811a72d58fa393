"""One full segment as a fixed piece of work: captured in a CUDA graph and, if asked, compiled.

Shape legend: B batch, L segment tokens, M memory, T = L plus memory and special tokens, E embedding
width, K kept positions.

At batch 1 a segment step of a small model is bound by the launches of its few hundred kernels, not
by arithmetic. Its shapes never change, so that it can be captured once and replayed with a single
launch: ids are copied into a fixed buffer, the state is updated in place. Nothing in it depends on
the length of the input: memory is constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt.attention_kernel import fastest_attention
from rmtscale.rmt.body import Body
from rmtscale.rmt.families import NOT_CAPTURABLE, FamilyBody
from rmtscale.rmt.lean_gpt2 import LeanGPT2, is_plain_gpt2
from rmtscale.rmt.sharding import is_cut

_WARM_UP = 3


class StepModel(Protocol):
    """The part of a model that a segment step needs: a decoder's or an encoder's RMT."""

    training: bool
    config: Any
    backbone: Any
    memory: Any
    segment_tokens: int
    causal: bool
    body: Body
    embedding_VE: Tensor

    def initial_state(self, batch: int) -> Tensor: ...

    def step(
        self, state_BME: Tensor, ids_BL: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[Any, ...]: ...


def require_evaluation(model: StepModel) -> None:
    """Raises ``BadInput`` where dropout is on, in the RMT or in the backbone alone."""
    if model.training or model.backbone.training:
        raise BadInput("model in training mode: expected model.eval() before inference")


def captures_segments(model: StepModel, *, compiled: bool) -> bool:
    """Whether segments can be captured on a GPU: by the way the backbone is run, and its kind."""
    kind = model.config.backbone_config.model_type
    return isinstance(model.body, FamilyBody) and (compiled or kind not in NOT_CAPTURABLE)


class SegmentStep:
    """``state, ids -> state`` on fixed buffers.

    Args:
        model: in evaluation mode.
        batch_size: B.
        compile_step: compile the step (``torch.compile``) as well; the first call takes long.
        cuda_graph: None captures where that works; True is the same; False never. Without CUDA,
            and around a backbone that is run by its own forward (which may look at values on the
            host), the step runs eagerly, with the same results.
        kept_tokens: of a decoder, the hidden states of so many of the last text tokens are kept.
            Of an encoder all T are, because its head may read any of them.
        backend: of ``torch.compile``.
        tokens: L; None is a full segment.

    Raises:
        BadInput: a model in training mode (dropout would be frozen into the graph).
    """

    def __init__(
        self,
        model: StepModel,
        batch_size: int = 1,
        *,
        compile_step: bool = False,
        cuda_graph: bool | None = None,
        kept_tokens: int = 1,
        backend: str = "inductor",
        tokens: int | None = None,
    ) -> None:
        require_evaluation(model)
        self.model = model
        weight = model.embedding_VE
        kept = kept_tokens if model.causal else model.config.segment_size
        # Written to again and again: what is made under inference_mode could not be outside.
        with torch.inference_mode(False), torch.no_grad():
            self.ids_BL = torch.zeros(
                batch_size, tokens or model.segment_tokens, dtype=torch.long, device=weight.device
            )
            self.state_BME = model.initial_state(batch_size).detach().clone()
            self.kept_BKE = torch.zeros(
                batch_size, kept, weight.shape[1], dtype=weight.dtype, device=weight.device
            )
        capturable = captures_segments(model, compiled=compile_step)
        whole = not any(is_cut(parameter) for parameter in self._parameters())
        self.uses_graph = cuda_graph is not False and weight.is_cuda and capturable and whole
        self._run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = self._pure
        if self.uses_graph and model.causal and is_plain_gpt2(model):
            self._run = LeanGPT2(model, kept, compile_step=compile_step, backend=backend)
        elif compile_step:
            self._run = torch.compile(self._pure, dynamic=False, backend=backend)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._made_with = self._facts()

    @property
    def last_B1E(self) -> Tensor:
        """Hidden states of a decoder's last text token: a view, which may be written to."""
        return self.kept_BKE[:, -1:]

    def _parameters(self) -> list[Tensor]:
        model: Any = self.model
        return list(model.parameters())

    def _facts(self) -> tuple[Any, ...]:
        """The things that a captured step has in it for good."""
        model: Any = self.model
        config = model.config
        pointers = tuple(parameter.data_ptr() for parameter in self._parameters())
        rows = None if model.dead_band_B11 is None else model.dead_band_B11.data_ptr()
        state = config.sink_tokens, config.dead_band, rows
        return *state, config.backbone_config._attn_implementation, pointers

    def fits(self) -> bool:
        """Whether weights, attention, sink and dead band are still those this was made with."""
        return self._made_with == self._facts()

    def _pure(self, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        new_BME, hidden, *_ = self.model.step(state_BME, ids_BL)
        return new_BME, hidden[:, -self.kept_BKE.shape[1] :]

    def _in_place(self) -> None:
        with fastest_attention(self.model, len(self.ids_BL)):
            new_BME, kept_BKE = self._run(self.state_BME, self.ids_BL)
        self.state_BME.copy_(new_BME)
        self.kept_BKE.copy_(kept_BKE)

    def _capture(self) -> None:
        state_BME = self.state_BME.clone()
        stream = torch.cuda.Stream(self.state_BME.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._in_place()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Another thread, such as one that makes batches, may lock memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._in_place()
        self.state_BME.copy_(state_BME)

    @torch.no_grad()
    def start(self, state_BME: Tensor) -> None:
        """Sets the state before the next segment."""
        self.state_BME.copy_(state_BME)

    @torch.no_grad()
    def __call__(self, ids_BL: Tensor) -> None:
        """Runs one full segment: updates ``state_BME`` and ``kept_BKE`` in place.

        Raises:
            BadInput: a model that was set to training mode since.
        """
        require_evaluation(self.model)
        if self.uses_graph and self._graph is None:
            with torch.cuda.device(self.state_BME.device):
                self._capture()
        self.ids_BL.copy_(ids_BL)
        if self._graph is None:
            self._in_place()
        else:
            self._graph.replay()
