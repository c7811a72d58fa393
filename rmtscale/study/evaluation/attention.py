"""Attention maps of the segments of one sample, as Figure 6 of the paper shows them.

Shape legend: T positions of a segment (memory and special tokens with them), H heads.

The backbone itself runs with eager attention and hands its weights out; the state that enters the
segment is the one the segments before left. Queries are rows, keys are columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTForCausalLM
from rmtscale.rmt.memory import decoder_layout, encoder_layout
from rmtscale.rmt.segmenting import cut
from rmtscale.steps import steps
from rmtscale.study.training.rolling import Roller
from rmtscale.study.training.segment_reader import SegmentReader


class Spelling(Protocol):
    """A vocabulary, or a tokenizer piece by piece: says which text each token is."""

    def decode(self, ids: Iterable[int]) -> Sequence[str]:
        """Returns the text of each token."""
        ...


class Places(NamedTuple):
    """Where the parts of a segment stand among its T positions."""

    read: list[int]
    """Memory that the segments before left; an encoder writes to the same positions."""
    text: list[int]
    write: list[int]
    """Memory that this segment leaves."""
    answer: int
    """The position that a memory task is answered at."""
    special: tuple[int, ...] = ()
    """An encoder's [CLS] and [SEP]."""
    sink: tuple[int, ...] = ()
    """Memory that keeps its initial value in every segment, and is in no other part."""


def places(model: SegmentReader, positions: int) -> Places:
    """Returns where memory and text stand in a segment of so many positions."""
    memory, sinks = model.rmt.config.memory_tokens, model.rmt.config.sink_tokens
    everything = list(range(positions))
    if isinstance(model.rmt, RMTForCausalLM):
        text = everything[memory : positions - memory]
        read, write = everything[sinks:memory], everything[positions - memory + sinks :]
        return Places(read, text, write, text[-1], sink=tuple(everything[:sinks]))
    both, sink = everything[1 + sinks : 1 + memory], tuple(everything[1 : 1 + sinks])
    special = (0, memory + 1, everything[-1])
    return Places(both, everything[memory + 2 : -1], both, 0, special, sink)


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """One segment."""

    segment: int
    """Index of the segment, from 0."""
    labels: tuple[str, ...]
    """Label of each of the T positions."""
    weights: npt.NDArray[np.float32]
    """(layers, H, T, T); every row of a map sums to 1."""

    def average(self) -> npt.NDArray[np.float32]:
        """Over layers and heads, (T, T)."""
        mean: npt.NDArray[np.float32] = self.weights.mean(axis=(0, 1))
        return mean


@torch.no_grad()
def attention_maps(
    reader: Roller,
    vocabulary: Spelling,
    ids: npt.NDArray[Any],
    segments: list[int] | None = None,
) -> list[AttentionMap]:
    """Returns the maps of some segments of one sample.

    Args:
        reader: of the checkpoint.
        vocabulary: says what each token is.
        ids: of the sample, (N,).
        segments: which, from 0; None is all of them.

    Raises:
        BadInput: no such segment.
    """
    model = reader.model
    bounds = cut(len(ids), model.segment_tokens)
    wanted = list(range(len(bounds))) if segments is None else segments
    for segment in wanted:
        if not 0 <= segment < len(bounds):
            raise BadInput(f"segment {segment}: expected 0 to {len(bounds) - 1}")
    backbone: Any = model.rmt.backbone
    before = backbone.config._attn_implementation
    backbone.set_attn_implementation("eager")
    try:
        maps = []
        state_1ME = model.initial(1)
        for index, (begin, end) in steps(list(enumerate(bounds)), "reading"):
            ids_1L = torch.from_numpy(ids[None, begin:end]).to(reader.device)
            if index in wanted:
                weights = _weights(model.rmt, state_1ME, ids_1L)
                labels = _labels(model.rmt, vocabulary, ids[begin:end])
                maps.append(AttentionMap(index, labels, weights))
            state_1ME = model.step(state_1ME, ids_1L)[0].clone()
        return maps
    finally:
        backbone.set_attn_implementation(before)


def _weights(rmt: Any, state_1ME: Tensor, ids_1L: Tensor) -> npt.NDArray[np.float32]:
    """Reads the weights of every layer and head, (layers, H, T, T)."""
    embed = rmt.get_input_embeddings()
    if hasattr(rmt.config, "cls_token_id") and rmt.config.cls_token_id is not None:
        edge = (rmt.config.cls_token_id, rmt.config.sep_token_id, rmt.config.sep_token_id)
        edge_13E = embed(torch.tensor([edge], device=ids_1L.device))
        embeds_1TE, _ = encoder_layout(state_1ME, edge_13E, embed(ids_1L), None)
    else:
        embeds_1TE = decoder_layout(state_1ME, embed(ids_1L), None)
    out = rmt.backbone.base_model(inputs_embeds=embeds_1TE, output_attentions=True)
    stacked = torch.stack([layer_1HTT[0] for layer_1HTT in out.attentions])
    return stacked.float().cpu().numpy()


def _labels(rmt: Any, vocabulary: Spelling, ids: npt.NDArray[Any]) -> tuple[str, ...]:
    words = vocabulary.decode(ids.tolist())
    if isinstance(rmt, RMTForCausalLM):
        read, write = (_memory_labels(rmt.config, kind) for kind in ("read", "write"))
        return (*read, *words, *write)
    return ("[CLS]", *_memory_labels(rmt.config, "mem"), "[SEP]", *words, "[SEP]")


def _memory_labels(config: Any, kind: str) -> list[str]:
    sinks = config.sink_tokens
    return [f"[{'sink' if at < sinks else kind} {at}]" for at in range(config.memory_tokens)]
