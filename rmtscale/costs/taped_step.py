"""Peak candidates where dtypes are mixed, weights frozen, or layers not one of the six families'.

The steps are those of ``peak_candidates`` and ``recurrent_peak_candidates``; what a segment keeps
and what its layers hold is read off a tape of one layer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from rmtscale.costs.activations import ID_BYTES, Saved, eager_attention
from rmtscale.costs.design import Design
from rmtscale.costs.layer_shape import LayerShape, plain_layer, taped_layers
from rmtscale.costs.methods.method import Method
from rmtscale.costs.parameter_shapes import count_numbers, parameter_tensors
from rmtscale.costs.peak_candidates import PeakCandidate, Segment, Step
from rmtscale.costs.recurrent_peak_candidates import RecurrentStep
from rmtscale.costs.tape import Storage, Tape, Value
from rmtscale.costs.taped_layer import LayerTape, Training, norm, training_of
from rmtscale.costs.working_set import LayerBackward, LayerWork, head_work
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload


class TapedLayer(NamedTuple):
    """One layer, in bytes."""

    saved: Saved
    backward: LayerBackward
    """Alive at most while it is differentiated, beyond what it saved; its own gradients too."""
    forward: int
    """Alive at most while it runs with nothing kept."""
    copies: int
    """16-bit copies of its weights that autocast keeps until it ends."""


def has_tape(model: LayeredSpec, workload: Workload, design: Design) -> bool:
    """Whether the layers of a model are such as a tape has; of others only a bound is known."""
    if isinstance(design, Method):
        return False
    size = workload.tokens
    if design is not None:
        size = design.segment_sizes(model, workload.tokens)[0][0]
    return taped_layers(model, size, eager=workload.attention == "eager") is not None


@lru_cache(maxsize=512)
def taped_layer(
    shape: LayerShape, training: Training, workload: Workload, size: int, grad: bool
) -> TapedLayer:
    """Returns what one layer takes over the workload's batch of ``size`` tokens.

    Args:
        grad: whether a gradient reaches its input.
    """
    casts, batch = workload.casts, workload.batch_size
    hidden = casts.weight_bytes
    tape = Tape(casts)
    x = tape.value(batch * size * shape.width, hidden, grad)
    layer = LayerTape(tape, shape, training, batch, size)
    table = Value(size * shape.head_width, hidden, False, Storage(0, external=True))
    out = layer.run(x, table)
    saved = tape.saved()
    attention = sum(saved[one] for one in tape.attention if one in saved)
    other = sum(saved.values()) - attention
    backward = LayerBackward(
        *(
            tape.backward_bytes(out, stay=stay, shared=shared)
            for shared in (False, True)
            for stay in (True, False)
        )
    )
    return TapedLayer(Saved(attention, other), backward, tape.forward_bytes(), tape.cached_bytes)


class _Outside(NamedTuple):
    """The parts around the layers, in bytes."""

    before: int
    """Saved before the layers."""
    behind: int
    """Saved behind them, what the head keeps of its input too."""
    read: int
    """Saved of the head's input."""
    copies: int
    """16-bit copies of its matrices, the head's apart."""
    width: int
    """Bytes of a number that the head reads."""


class _Taped(Step):
    """Reads segments off a tape, and counts gradients of what is trained."""

    def __init__(self, model: ModelSpec, workload: Workload, gradients: int, *rest: Any) -> None:
        self.casts = workload.casts
        self.training = training_of(model, self.casts, workload.adapter)
        self.trained_memory = bool(rest) and rest[0].memory_tokens > 0
        super().__init__(model, workload, gradients, *rest)
        if not self.training.trained:
            self.embedding = 0

    def _shape(self, size: int) -> tuple[LayerShape, int]:
        model, workload = self.model, self.workload
        if isinstance(model, LayeredSpec):
            found = taped_layers(model, size, eager=workload.attention == "eager")
            assert found is not None, "asked for where there is a tape only"
            return found
        dropout = workload.train and workload.dropout is not False
        eager = eager_attention(model, workload)
        return plain_layer(model, eager=eager, dropout=dropout), model.layers

    def segment(self, size: int, text: int) -> Segment:
        model, workload, casts = self.model, self.workload, self.casts
        batch, wide = workload.batch_size, casts.weight_bytes
        shape, count = self._shape(size)
        training = self.training
        # With checkpoints and frozen weights the module makes its embeddings want a gradient.
        reached = training.trained or self.trained_memory or workload.checkpoint_layers
        layer = taped_layer(shape, training, workload, size, True)
        first = taped_layer(shape, training, workload, size, reached)
        outside = self._outside(shape, batch * size, reached)
        embedding, final = outside.before, outside.behind
        tokens = batch * size
        hidden = tokens * model.width * wide
        position = size * self._position(shape)
        beside = embedding + final + position
        if workload.checkpoint_layers:
            backbone = Saved(0, beside + count * hidden)
        else:
            backbone = layer.saved.times(count - 1).plus(first.saved).plus(Saved(0, beside))
        mask = self._mask_bytes(shape, size)
        # What the layers are called with has a name, in an RMT too.
        forward = layer.forward + max(self._held(), 1) * hidden + mask + position
        return Segment(
            hidden=hidden,
            mask=mask,
            output=tokens * model.embedding_width * outside.width,
            read=outside.read,
            embedding=embedding,
            final=final,
            layer=layer.saved,
            backbone=backbone,
            head=head_work(model, casts, batch, text, trained=training.trained),
            work=LayerWork(forward, layer.backward.new, layer.backward.new, layer.backward),
            copies=workload.train * (layer.copies * (count - 1) + first.copies + outside.copies),
        )

    def _mask_bytes(self, shape: LayerShape, size: int) -> int:
        if not (shape.eager and shape.causal):
            return 0
        return self.workload.batch_size * size * size * self.casts.weight_bytes

    def _position(self, shape: LayerShape) -> int:
        if shape.rotary:
            rotary = self.model.rotary_width or shape.head_width
            return 2 * rotary * self.casts.weight_bytes
        return 0 if shape.kind == "opt" else ID_BYTES * self.training.trained

    def _outside(self, shape: LayerShape, tokens: int, reached: bool) -> _Outside:
        """Counts what is kept before the layers and behind them."""
        model, training, casts = self.model, self.training, self.casts
        wide = casts.weight_bytes
        tape = Tape(casts)
        x = tape.value(tokens * model.embedding_width, wide, reached)
        if model.projected_embedding:
            x = tape.linear(x, model.embedding_width, model.width, wide, trained=training.trained)
        if model.embedding_norm:
            x = norm(tape, x, tokens, training, rms=False)
        if shape.kind != "opt":
            x = tape.dropout(x, shape.hidden_dropout)
        before, copies = sum(tape.saved().values()), tape.cached_bytes
        if shape.kind == "opt":
            before += ID_BYTES * tokens * training.trained
        tape = Tape(casts)
        x = tape.value(tokens * model.width, wide, grad=True)
        if model.final_norm:
            x = norm(tape, x, tokens, training, rms=shape.rms)
        if model.projected_embedding:
            x = tape.linear(x, model.width, model.embedding_width, wide, trained=training.trained)
        kept = sum(tape.saved().values())
        if model.head == "classification":
            read = tokens * model.width * wide * training.trained  # of which the pooler has a view
            return _Outside(before, kept + read, read, copies + tape.cached_bytes, x.width)
        copies += tape.cached_bytes
        inner, words = model.embedding_width, model.vocabulary
        tape.linear(x, inner, words, wide, trained=training.trained)
        behind = sum(tape.saved().values())
        if not training.trained and casts.autocast:  # the head's own copy is counted with it
            behind -= inner * words * casts.compute_bytes
        return _Outside(before, behind, behind - kept, copies, x.width)

    def _held(self) -> int:
        return 1 if isinstance(self.model, LayeredSpec) else super()._held()

    def _in_layer(
        self, which: str, now: PeakCandidate, work: LayerWork, new: bool
    ) -> tuple[PeakCandidate, ...]:
        assert work.taped is not None
        at = 2 * self._several() + (not new)
        return (now._replace(name=f"in the {which} layer, backward", work=work.taped[at]),)

    def _several(self) -> bool:
        """Whether a gradient is summed over the segments of a window."""
        return False

    def _late_gradients(self) -> int:
        """Bytes of the gradients that come with the first layer and the embedding."""
        if not self.training.trained:
            return self.gradients // self.model.layers
        wide = self.casts.weight_bytes
        tensors = parameter_tensors(self.model)
        inside = count_numbers(tuple(one for one in tensors if one.in_block))
        late = wide * (inside // self.model.layers + self.model.position_rows * self.model.width)
        return late if self.tied else late + self.embedding


class TapedStep(_Taped):
    """Full attention; the copies that autocast keeps go with the layers they are of."""

    def segment(self, size: int, text: int) -> Segment:
        segment = super().segment(size, text)
        if not segment.copies:
            return segment
        each = Saved(0, segment.copies // self.model.layers)
        backbone = segment.backbone
        if not self.workload.checkpoint_layers:
            backbone = backbone.plus(Saved(0, segment.copies))
        return segment._replace(layer=segment.layer.plus(each), backbone=backbone)


class TapedRecurrentStep(_Taped, RecurrentStep):
    """An RMT; the copies that autocast keeps are shared by all segments of a window."""

    def _several(self) -> bool:
        return self.window > 1
