"""Kernels around the layers of one pass: embedding, positions, masks, the last norm, the head.

Held against the operators of the real modules, as the layers are.
"""

from __future__ import annotations

from rmtscale.costs.activations import ID_BYTES
from rmtscale.costs.layer_shape import LayerShape
from rmtscale.costs.tape import Value
from rmtscale.costs.taped_layer import Training, norm
from rmtscale.costs.time.kernel_tape import KernelTape
from rmtscale.costs.time.kernels import (
    COPY,
    JOIN,
    LOSS,
    LOSS_BACK,
    PICK,
    PLAIN,
    REDUCE,
    SCATTER,
    SPREAD,
    UNEVEN,
    Stream,
    aligned,
)
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES

_MASK_INTEGERS = 9
"""Kernels on rows of integers before the mask itself: where each query and key stands."""
_POSITION_INTEGERS = {"opt": 6, "bert": 1}
_SPECIAL_TOKENS = 7
"""Kernels that put special tokens around an encoder's segment."""
_PLAIN_POSITIONS = 2
"""Kernels that count positions; an RMT hands in embeddings, which need one fewer."""


def embed(
    tape: KernelTape,
    model: ModelSpec,
    shape: LayerShape,
    training: Training,
    batch: int,
    size: int,
    *,
    segment: bool,
) -> Value:
    """Token ids to the first layer's input; of an RMT's ``segment`` with its memory around it."""
    width, tokens = training.weight_width, batch * size
    inner, trained = model.embedding_width, training.trained
    hidden = tape.value(tokens * inner, width, grad=trained)
    row = size * ID_BYTES
    _look_up(tape, model.vocabulary * inner, hidden, tokens, trained)
    if segment:
        tape.launch(
            JOIN, 2 * hidden.size_bytes, hidden.numbers
        )  # memory, text and memory are joined
        if trained:
            for _ in range(2):  # the gradients of text and memory become gradients of the whole
                tape.differentiate(COPY, 2 * hidden.size_bytes, hidden.numbers)
            tape.differentiate(PLAIN, 3 * hidden.size_bytes)
            for _ in range(2):
                tape.differentiate(PLAIN, 3 * batch * inner * width)
    if shape.rotary:
        table = size * shape.rotary_width * FP32_BYTES
        for moved in (*(2 * row,) * (3 - segment), *(2 * table,) * 5):
            tape.launch(PLAIN, moved)
        if width < FP32_BYTES:
            for _ in range(2):
                tape.launch(COPY, table + table * width // FP32_BYTES, table // FP32_BYTES)
    else:
        hidden = _placed(tape, model, shape, training, hidden, size, segment)
    if shape.eager and shape.causal:
        for _ in range(_MASK_INTEGERS):
            tape.launch(PLAIN, 2 * row)
        tape.launch(UNEVEN, batch * size * size * (1 + width), batch * size * size)
    if model.embedding_norm:
        hidden = norm(tape, hidden, tokens, training, rms=False)
    return hidden if shape.kind == "opt" else tape.dropout(hidden, shape.hidden_dropout)


def _placed(
    tape: KernelTape,
    model: ModelSpec,
    shape: LayerShape,
    training: Training,
    hidden: Value,
    size: int,
    segment: bool,
) -> Value:
    """Adds what positions and token types are embedded as."""
    width, trained, row = training.weight_width, training.trained, size * ID_BYTES
    inner, tokens = model.embedding_width, hidden.numbers // model.embedding_width
    count = _POSITION_INTEGERS.get(shape.kind, _PLAIN_POSITIONS - segment)
    count += _SPECIAL_TOKENS * (segment and not shape.causal)
    for _ in range(count):
        tape.launch(PLAIN, 2 * row)
    rows = tape.value(size * model.width, width, grad=trained)
    _look_up(tape, model.position_rows * model.width, rows, size, trained)
    if model.token_types:
        _look_up(tape, model.token_types * inner, hidden, tokens, trained)
        hidden = tape.add(hidden, hidden)
    if model.projected_embedding:
        hidden = tape.linear(hidden, inner, model.width, width, trained=trained)
    return tape.add(hidden, tape.value(hidden.numbers, width, grad=False))


def _look_up(tape: KernelTape, table: int, rows: Value, tokens: int, trained: bool) -> None:
    tape.launch(PICK, 2 * rows.size_bytes)
    if trained:
        tape.differentiate(SCATTER, table * rows.width + rows.size_bytes, tokens)
        tape.weight(table, rows.width)


def last_norm(
    tape: KernelTape, model: ModelSpec, shape: LayerShape, training: Training, x: Value, tokens: int
) -> Value:
    """Norms and projects what the last layer made, for the head."""
    if model.final_norm:
        x = norm(tape, x, tokens, training, rms=shape.rms)
    if model.projected_embedding:
        x = tape.linear(
            *(x, model.width, model.embedding_width, training.weight_width),
            trained=training.trained,
        )
    return x


def tied_gradient(tape: KernelTape, model: ModelSpec, width: int) -> None:
    """Adds the gradients that one matrix gets as embedding and as head."""
    if model.tied_head:
        tape.differentiate(PLAIN, 3 * model.vocabulary * model.embedding_width * width)


def scored_at_once(
    tape: KernelTape, model: ModelSpec, training: Training, hidden: Value, rows: int
) -> None:
    """Head and loss of Transformers: logits in fp32, their log-softmax, and its gradient."""
    width = training.weight_width
    logits = _logits(tape, model, training, hidden)
    exact = tape.cast(logits, FP32_BYTES)
    labels = rows * ID_BYTES
    tape.launch(COPY, 2 * labels, rows)
    tape.launch(LOSS, 2 * exact.size_bytes)
    tape.launch(COPY, 2 * labels, rows)
    tape.differentiate(PLAIN, exact.size_bytes)
    tape.differentiate(LOSS_BACK, 3 * exact.size_bytes)
    if training.trained:
        tied_gradient(tape, model, width)


def _logits(tape: KernelTape, model: ModelSpec, training: Training, hidden: Value) -> Value:
    inner, words = model.embedding_width, model.vocabulary
    return tape.linear(hidden, inner, words, training.weight_width, trained=training.trained)


def logits_of(
    tape: KernelTape, model: ModelSpec, training: Training, rows: int, width: int
) -> None:
    """The head in inference, over so many rows."""
    _logits(tape, model, training, tape.value(rows * model.embedding_width, width, grad=False))


def scored_by_segment(
    tape: KernelTape, model: ModelSpec, training: Training, hidden: Value, rows: int
) -> None:
    """Head, loss and their gradients of one segment, all in its forward pass (``rmt.loss``)."""
    inner, words = model.embedding_width, model.vocabulary
    reached = hidden.grad
    plain = tape.value(rows * inner, hidden.width, grad=False)
    frozen = Training(training.weight_width, trained=False)
    logits = tape.linear(plain, inner, words, frozen.weight_width, trained=False)
    compute, numbers = logits.width, logits.numbers
    exact = numbers * FP32_BYTES
    row = rows * ID_BYTES
    cast = exact + logits.size_bytes
    narrow = compute < FP32_BYTES
    for kind, moved in (
        *(((COPY, cast),) if narrow else ()),
        *((PLAIN, row),) * 14,
        (REDUCE, exact),
        (SPREAD, 2 * exact),
        (PLAIN, 2 * exact),
        (REDUCE, exact),
        (SPREAD, 2 * exact),
        *(((PLAIN, cast),) if narrow else ()),
    ):
        tape.launch(kind, moved, numbers)
    matrix, even = inner * words, aligned(inner, words)
    if training.trained:
        tape.forward.append(tape.matmul(1, words, inner, rows, compute, even, True))
        kind = PLAIN if compute == FP32_BYTES else UNEVEN
        tape.launch(kind, matrix * (compute + 2 * FP32_BYTES), matrix)
        wide = training.weight_width
        tape.once_backward.append(Stream(PLAIN, 2 * matrix * FP32_BYTES))
        if wide < FP32_BYTES:
            tape.once_backward.append(Stream(PLAIN, matrix * (FP32_BYTES + wide)))
        if model.tied_head:
            tape.once_backward.append(Stream(PLAIN, 3 * matrix * wide))
    if reached:
        tape.forward.append(tape.matmul(1, rows, inner, words, compute, even, True))
        if compute != hidden.width:
            tape.launch(COPY, rows * inner * (compute + hidden.width), rows * inner)
        tape.differentiate(PLAIN, 2 * rows * inner * hidden.width)
        moved = (rows * inner + hidden.numbers) * hidden.width
        tape.differentiate(COPY, moved, hidden.numbers)


def classified(
    tape: KernelTape, model: ModelSpec, training: Training, hidden: Value, batch: int, train: bool
) -> None:
    """Pooler, classifier and loss, on the first token of each sequence."""
    width, trained = training.weight_width, training.trained
    first = tape.value(batch * model.width, hidden.width, hidden.grad)
    pooled = tape.activation(
        tape.linear(first, model.width, model.width, width, trained=trained, bias=True), "tanh"
    )
    pooled = tape.dropout(pooled, train and model.hidden_dropout > 0)
    logits = tape.linear(pooled, model.width, model.labels, width, trained=trained, bias=True)
    if train:
        exact = tape.cast(logits, FP32_BYTES)
        for _ in range(2):
            tape.launch(LOSS, 2 * exact.size_bytes)
            tape.differentiate(LOSS_BACK, 3 * exact.size_bytes)
        tape.differentiate(COPY, first.size_bytes + hidden.size_bytes, hidden.numbers)
