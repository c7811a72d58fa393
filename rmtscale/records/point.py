"""One point of a sweep: pure data, and the identity by which the sweep knows it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

from rmtscale.errors import BadInput, quoted_list
from rmtscale.records.mapping import to_mapping
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.layout import TORCH_CONTEXTS, Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import MASTER_OPTIMIZERS, METHODS, Method, Mode, Workload
from rmtscale.units import require_one_of, require_positive

DEVICES = ("cuda", "cpu")
LOGITS = ("all", "last")
CONTEXT_KINDS = ("gpt2", "llama", "gpt_neox")
"""Models of which context parallelism is measured: what they read of positions can be cut."""
LAYOUT_PRECISIONS = ("fp32", "bf16", "master-bf16")
"""Precisions in which points are shared out: with autocast FSDP2 would gather fp32 weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One configuration at one length.

    Raises:
        BadInput: a value outside what its field says, or fields that exclude each other.
    """

    old_names: ClassVar[Mapping[str, str]] = {"dtype": "precision"}
    """Names that fields had in records of earlier releases."""

    model: ModelSpec
    method: Method
    tokens: int
    """Text tokens of the whole input, per sequence."""
    segment_size: int | None = None
    """``rmt`` only: what the backbone sees per step, memory tokens included."""
    memory_tokens: int | None = None
    """``rmt`` only."""
    batch_size: int = 1
    mode: Mode = "forward"
    precision: str = "fp32"
    attention: str = "sdpa"
    """The attention that was asked for; the kernel that ran is measured."""
    optimizer: str | None = None
    """``train`` only."""
    accumulate: int = 1
    """``train`` only: micro-batches whose gradients are summed before one step."""
    adapter: Adapter | None = None
    """``train`` only: what is trained in place of the weights."""
    offload_optimizer: bool = False
    """``train`` only: the optimizer is on the host."""
    host_memory_bytes: int | None = None
    """With an offloaded optimizer: what it has to fit in."""
    dropout: bool = False
    """``train`` only: as the model's config has it; False is off."""
    bptt_segments: int | None = None
    """``rmt`` in ``train``: segments a gradient flows back through; None is all."""
    checkpoint_segments: bool = False
    """``rmt`` in ``train``: recompute segment by segment."""
    checkpoint_layers: bool = False
    """``train``: recompute layer by layer."""
    logits: Literal["all", "last"] | None = None
    """``forward`` of a language model: logits of all tokens or of the last (``rmt``: the last)."""
    cuda_graph: bool = False
    """``rmt`` forward of a decoder on CUDA: one captured segment step."""
    capture: bool = False
    """``rmt`` in ``train`` on CUDA: forward, loss and backward of a whole step captured."""
    compile_step: bool = False
    """``rmt``, forward of a decoder or a captured training step: full segments compiled."""
    checkpoint: str | None = None
    """Real weights: a folder or a hub name. None: random ones of the model's shape."""
    layout: Layout | None = None
    """``train``: the processes that share the step, whose whole batch is ``batch_size``; a layout
    says recomputation too. None: one process, and nothing is shared."""
    device: Literal["cuda", "cpu"] = "cuda"
    memory_limit_bytes: int | None = None
    """CUDA: cap of torch's allocator. CPU: cap of what the process allocates above its start."""
    replicate: int = 0
    """1: the second half of an A/A pair, the same point measured once more."""

    def __post_init__(self) -> None:
        require_one_of("method", self.method, METHODS)
        require_one_of("device", self.device, DEVICES)
        rmt, train, cuda = self.method == "rmt", self.mode == "train", self.device == "cuda"
        if rmt != (self.segment_size is not None) or rmt != (self.memory_tokens is not None):
            raise BadInput("segment size and memory tokens: expected both for rmt, none for full")
        if train != (self.optimizer is not None):
            raise BadInput(f"optimizer {self.optimizer!r}: expected one for train, none otherwise")
        if self.capture and not (rmt and train and cuda and self.accumulate == 1):
            raise BadInput("capture: expected rmt, train, cuda and no micro-batches")
        if self.memory_limit_bytes is not None:
            require_positive("memory limit", self.memory_limit_bytes)
        recurrence = self.recurrence()
        self.workload()
        self._require_layout()
        if recurrence is not None:
            recurrence.segment_tokens(self.model)
        if self.model.kind == "gpt_neo" and self.attention == "sdpa":
            raise BadInput(f"attention 'sdpa': {self.model.name} has none, expected eager")
        if self.checkpoint is not None and self.raised_positions is not None:
            raise BadInput(
                f"tokens {self.tokens}: expected {self.model.positions} or less, the position "
                f"table of {self.checkpoint} (only one of random weights can be made longer)"
            )

    def _require_layout(self) -> None:
        """Raises ``BadInput`` for a layout that nothing here runs."""
        layout = self.layout
        if layout is None:
            return
        what = f"layout {layout.name!r}"
        if (layout.pp, layout.ep) != (1, 1) or layout.sequence_parallel:
            raise BadInput(f"{what}: expected tp, cp, dp and zero3, nothing else is measured")
        if layout.cp > 1:
            self._require_context(layout)
        if layout.zero not in (0, 3) or layout.recompute == "selective" or layout.fp32_gradients:
            raise BadInput(f"{what}: expected zero 0 or 3 (FSDP2), and all or nothing recomputed")
        if self.mode != "train" or not self.model.decoder:
            raise BadInput(f"{what}: expected train and a decoder")
        if self.precision not in LAYOUT_PRECISIONS:
            accepted = quoted_list(LAYOUT_PRECISIONS)
            raise BadInput(f"precision {self.precision!r}: expected {accepted} in a layout")
        if self.optimizer not in (*MASTER_OPTIMIZERS, "none"):
            accepted = quoted_list((*MASTER_OPTIMIZERS, "none"))
            raise BadInput(f"optimizer {self.optimizer!r}: expected {accepted} in a layout")
        others = (self.adapter, self.capture, self.offload_optimizer, self.bptt_segments)
        if any(others) or self.checkpoint or self.accumulate > 1 or self.dropout:
            raise BadInput(
                f"{what}: expected random weights, all trained, full BPTT, no dropout, no "
                "micro-batches, no capture and the optimizer on the GPU"
            )
        if self.batch_size != layout.dp * layout.micro_batch:
            raise BadInput(
                f"batch size {self.batch_size}: expected {layout.dp * layout.micro_batch}, "
                f"{layout.micro_batch} on each of {layout.dp} data ranks of {layout.name!r}"
            )
        if layout.state_by_state and self.method != "rmt":
            raise BadInput(f"{what}: is state by state, expected rmt, full attention has no state")

    def _require_context(self, layout: Layout) -> None:
        """Raises ``BadInput`` for context parallelism that nothing here runs."""
        what = f"layout {layout.name!r}"
        if layout.context not in TORCH_CONTEXTS:
            accepted = quoted_list(TORCH_CONTEXTS)
            raise BadInput(f"{what}: is {layout.context}, expected {accepted}, torch's own")
        if self.method != "full":
            raise BadInput(f"{what}: expected full attention, an RMT's segments are read whole")
        if self.model.kind not in CONTEXT_KINDS or self.attention != "sdpa":
            accepted = quoted_list(CONTEXT_KINDS)
            raise BadInput(f"{what}: expected sdpa and a model like {accepted}")
        if layout.tp > 1:
            raise BadInput(f"{what}: expected tp or cp, both together are not measured")
        pieces = 2 * layout.cp
        if self.tokens % pieces and self.tokens > 1:
            raise BadInput(
                f"tokens {self.tokens}: expected a multiple of {pieces}, the pieces that "
                f"{layout.name!r} cuts them into"
            )

    def workload(self) -> Workload:
        """Returns the point's workload, for the formulas; with a layout that of all processes."""
        return Workload(
            tokens=self.tokens,
            batch_size=self.batch_size,
            mode=self.mode,
            precision=self.precision,
            attention=self.attention,
            optimizer=self.optimizer or "none",
            accumulate=self.accumulate,
            adapter=self.adapter,
            offload_optimizer=self.offload_optimizer,
            host_memory_bytes=self.host_memory_bytes,
            dropout=None if self.dropout else False,
            logits=self.logits or "last",
            bptt_segments=self.bptt_segments,
            checkpoint_segments=self.checkpoint_segments,
            checkpoint_layers=self.checkpoint_layers,
            capture=self.capture,
            compile_step=self.compile_step,
        )

    def recurrence(self) -> Recurrence | None:
        """Returns how the input is cut; None for full attention."""
        if self.segment_size is None or self.memory_tokens is None:
            return None
        return Recurrence(self.segment_size, self.memory_tokens)

    @property
    def raised_positions(self) -> int | None:
        """Full attention over the model's position table: the length the table is raised to.

        What one has to do to measure it at all (the paper's Figure 10 does): new random rows,
        which no released weights have. None where the table is long enough, or there is none.
        """
        positions = self.model.positions
        if self.method == "rmt" or positions is None or self.tokens <= positions:
            return None
        return self.tokens

    @property
    def built_model(self) -> ModelSpec:
        """The shape that is really built: ``model``, its position table raised where needed."""
        raised, model = self.raised_positions, self.model
        if raised is None or model.positions is None:
            return model
        return replace(
            model, positions=raised, position_rows=raised + model.position_rows - model.positions
        )

    @property
    def key(self) -> str:
        """The identity: equal for equal points, in this process and in any file."""
        return _identities(self)[0]

    @property
    def series(self) -> str:
        """The identity of what it is one length of."""
        return _identities(self)[1]

    def title(self) -> str:
        """Names the series: ``rmt 500+2, train, fp32, sdpa, one checkpoint per segment``."""
        words = [self.mode, self.precision, self.attention]
        if self.batch_size > 1:
            words.append(f"batch size {self.batch_size}")
        if self.mode == "train":
            words += [self.optimizer or "", "dropout" if self.dropout else "no dropout"]
        if self.accumulate > 1:
            words.append(f"{self.accumulate} micro-batches")
        if self.adapter is not None:
            words.append(self.adapter.title())
        words += ["optimizer on the host"] * self.offload_optimizer
        if self.bptt_segments is not None:
            words.append(f"BPTT {self.bptt_segments}")
        if self.checkpoint_segments:
            words.append("one checkpoint per segment")
        if self.checkpoint_layers:
            words.append("one checkpoint per layer")
        if self.logits == "all":
            words.append("logits of every token")
        words += ["captured"] * self.capture
        words += [] if self.layout is None else [self.layout.name]
        words += ["CUDA graph"] * self.cuda_graph + ["compiled"] * self.compile_step
        method = "full attention"
        if self.segment_size is not None:
            method = f"rmt {self.segment_size} with {self.memory_tokens} memory tokens"
        return f"{self.model.name}, {method}: {', '.join(words)}"


_LATER: dict[str, Any] = {
    "accumulate": 1,
    "adapter": None,
    "offload_optimizer": False,
    "host_memory_bytes": None,
    "capture": False,
    "layout": None,
    "quantization": None,
}
"""Fields that came after the first release, and what they say where nothing is asked."""


# A report asks for these again and again; they take longer than all else it reads.
@lru_cache(maxsize=65536)
def _identities(point: Point) -> tuple[str, str]:
    """Returns what a point is known again by, and what its series is."""
    identifying = _identifying(point)
    series = identifying | {"tokens": 0, "replicate": 0}
    return json.dumps(identifying, sort_keys=True), json.dumps(series, sort_keys=True)


def _identifying(point: Point) -> dict[str, Any]:
    """Returns the fields of the identity, which stays what it was in earlier releases.

    A field that came later is left out where it says what was done before there was one.
    """
    first_names = {new: old for old, new in Point.old_names.items()}
    found = to_mapping(point)
    found["model"] = _without_later(found["model"])
    return {first_names.get(name, name): value for name, value in _without_later(found).items()}


def _without_later(mapping: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in mapping.items()
        if name not in _LATER or value != _LATER[name]
    }
