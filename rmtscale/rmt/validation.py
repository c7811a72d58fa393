"""Checks of a call's arguments before any work; one host-device synchronization each way.

Shape legend: B batch, N text columns of the input, M memory, E embedding width, C classes.

Values are looked at only where there are any: not on the meta device (FLOP counting) and not
while a graph is traced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from rmtscale.errors import BadInput
from rmtscale.rmt.compiling import never_compiled
from rmtscale.rmt.cross_entropy import IGNORED

_INTEGERS = (torch.int64, torch.int32)
MASKS = (torch.bool, *_INTEGERS, torch.int16, torch.int8, torch.uint8)
LABELS = _INTEGERS


def has_values(tensor: Tensor) -> bool:
    """Whether a look at the values of ``tensor`` is possible and costs no more than a wait."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor) or torch.compiler.is_compiling())


def shape_text(tensor: Tensor) -> str:
    """``(2, 7)``."""
    return str(tuple(tensor.shape))


@never_compiled
def require_ids(input_ids: Tensor | None) -> Tensor:
    """Raises ``BadInput`` unless these are token ids of shape (B, N) with at least one column."""
    if not isinstance(input_ids, Tensor):
        raise BadInput(f"input_ids {type(input_ids).__name__}: expected a tensor of token ids")
    if input_ids.dtype not in _INTEGERS:
        raise BadInput(f"input_ids of {input_ids.dtype}: expected torch.int64 or torch.int32")
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise BadInput(
            f"input_ids of shape {shape_text(input_ids)}: expected (batch, tokens), each 1 or more"
        )
    return input_ids


@never_compiled
def require_same_shape(
    name: str, tensor: object, input_ids: Tensor, dtypes: tuple[torch.dtype, ...] = ()
) -> None:
    """Raises ``BadInput`` unless this is a tensor of the shape of ``input_ids``.

    Args:
        dtypes: what it may be of; anything, if there are none.
    """
    if not isinstance(tensor, Tensor):
        raise BadInput(f"{name} {type(tensor).__name__}: expected a tensor")
    if dtypes and tensor.dtype not in dtypes:
        raise BadInput(f"{name} of {tensor.dtype}: expected {' or '.join(map(str, dtypes))}")
    if tensor.shape != input_ids.shape[:2]:
        raise BadInput(
            f"{name} of shape {shape_text(tensor)}: expected {tuple(input_ids.shape[:2])}, "
            "the shape of input_ids"
        )


@never_compiled
def require_memory(memory_BME: Tensor, batch: int, memory_tokens: int, like: Tensor) -> None:
    """Raises ``BadInput`` unless this is a state of this model, in its dtype, on its device."""
    if not isinstance(memory_BME, Tensor):
        raise BadInput(f"memory {type(memory_BME).__name__}: expected a tensor")
    expected = (batch, memory_tokens, like.shape[-1])
    if tuple(memory_BME.shape) != expected:
        raise BadInput(f"memory of shape {shape_text(memory_BME)}: expected {expected}")
    if memory_BME.dtype != like.dtype:
        raise BadInput(f"memory of {memory_BME.dtype}: expected {like.dtype}, the model's dtype")
    if memory_BME.device != like.device:
        raise BadInput(f"memory on {memory_BME.device}: expected {like.device}")


@dataclass(frozen=True, slots=True)
class Spans:
    """The place of the text of each sample."""

    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    mask_BN: Tensor | None
    """None when every column of every sample is text: then no mask is needed anywhere."""


@never_compiled
def text_spans(input_ids: Tensor, attention_mask: Tensor | None) -> Spans:
    """Returns the text of each sample: one run of ones in its row of the mask.

    Raises:
        BadInput: a mask of another shape, of other values than 0 and 1, empty for a sample, or
            with a hole in the text of one.
    """
    batch, columns = input_ids.shape[:2]
    full = Spans((0,) * batch, (columns,) * batch, None)
    if attention_mask is None:
        return full
    require_same_shape("attention_mask", attention_mask, input_ids)
    if attention_mask.is_meta:
        raise BadInput("attention_mask on the meta device: expected one with values, or none")
    mask_BN = attention_mask.bool()
    odd = ((attention_mask != 0) & (attention_mask != 1)).sum()
    column_N = torch.arange(columns, device=mask_BN.device)
    first_B = torch.where(mask_BN, column_N, columns).amin(1)
    last_B = torch.where(mask_BN, column_N, -1).amax(1)
    facts = torch.cat([odd[None], first_B, last_B, mask_BN.sum(1)]).tolist()
    if facts[0]:
        raise BadInput("attention_mask with values other than 0 and 1: expected 1 at text, else 0")
    first, last, lengths = (facts[1 + part * batch : 1 + (part + 1) * batch] for part in range(3))
    for row in range(batch):
        if not lengths[row]:
            raise BadInput(f"attention_mask of sample {row} is all 0: expected 1 or more tokens")
        if last[row] - first[row] + 1 != lengths[row]:
            raise BadInput(
                f"attention_mask of sample {row} has a hole: expected padding on the left or on "
                "the right of the text only"
            )
    if all(length == columns for length in lengths):
        return full
    return Spans(tuple(first), tuple(lengths), mask_BN)


@never_compiled
def require_vocabulary(input_ids: Tensor, vocabulary: int) -> None:
    """Raises ``BadInput`` that names an id outside the vocabulary; embeddings have none."""
    if has_values(input_ids) and not input_ids.is_floating_point():
        low, high = torch.stack(torch.aminmax(input_ids)).tolist()
        if low < 0 or high >= vocabulary:
            bad = low if low < 0 else high
            raise BadInput(f"input_ids with id {bad}: expected 0 to {vocabulary - 1}")


def require_token_labels(
    labels_BN: Tensor,
    targets_BN: Tensor,
    input_ids: Tensor,
    vocabulary: int,
    *,
    some_scored: bool = True,
) -> None:
    """Raises ``BadInput`` unless labels and ids are in the vocabulary and something is scored.

    In a part of a larger batch, whose number of labels is given, nothing need be.

    ``targets_BN`` are the labels as they will be scored: shifted, masked, limited to a segment.
    """
    if not has_values(input_ids):
        return
    real_BN = torch.where(labels_BN == IGNORED, 0, labels_BN)
    known_BN = real_BN if input_ids.is_floating_point() else input_ids
    extremes = [*torch.aminmax(known_BN), *torch.aminmax(real_BN), (targets_BN != IGNORED).sum()]
    ids_low, ids_high, low, high, scored = torch.stack([x.long() for x in extremes]).tolist()
    if ids_low < 0 or ids_high >= vocabulary:
        bad = ids_low if ids_low < 0 else ids_high
        raise BadInput(f"input_ids with id {bad}: expected 0 to {vocabulary - 1}")
    if low < 0 or high >= vocabulary:
        bad = low if low < 0 else high
        raise BadInput(f"labels with {bad}: expected 0 to {vocabulary - 1}, or {IGNORED}")
    if not scored and some_scored:
        raise BadInput(
            "labels: none of them is scored; expected one that is not the first of its sample, "
            f"not {IGNORED}, not masked and, with loss_on 'last', predicted in the last segment"
        )


@never_compiled
def require_class_labels(labels: Tensor, batch: int, classes: int, problem_type: str) -> None:
    """Raises ``BadInput`` unless these labels fit a classification head of ``classes`` outputs."""
    if problem_type == "single_label_classification":
        if labels.dtype not in _INTEGERS or tuple(labels.shape) != (batch,):
            raise BadInput(
                f"labels of {labels.dtype} and shape {shape_text(labels)}: expected torch.int64 "
                f"and ({batch},)"
            )
        if has_values(labels):
            low, high = torch.stack(torch.aminmax(labels)).tolist()
            if low < 0 or high >= classes:
                bad = low if low < 0 else high
                raise BadInput(f"labels with {bad}: expected 0 to {classes - 1}")
        return
    shapes = [(batch, classes)] + ([(batch,)] if classes == 1 else [])
    if tuple(labels.shape) not in shapes or not labels.is_floating_point():
        raise BadInput(
            f"labels of {labels.dtype} and shape {shape_text(labels)}: expected a floating dtype "
            f"and {shapes[-1]}"
        )
