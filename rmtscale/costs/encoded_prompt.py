"""Splits a model that writes behind an encoder into the parts that its ``generate`` runs.

The encoder reads the prompt once. Every layer of cross-attention makes keys and values of what
comes out, once. Then the decoder, which begins with a start token, gives one token a step (Vaswani
et al. 2017; Hugging Face's ``EncoderDecoderCache``). Each part is a shape or a list of matrices, so
that generation counts it as it counts any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import HeadShape, LayeredSpec
from rmtscale.specs.parts import Matrix


class EncodedPrompt(NamedTuple):
    """Holds the parts of one model."""

    encoder: LayeredSpec
    keys_and_values: tuple[Matrix, ...]
    """Matrices over the encoder's output, of all layers of cross-attention."""
    decoder: LayeredSpec
    """One step of it: keys and values of the encoder's output are there."""


def split(model: LayeredSpec) -> EncodedPrompt:
    """Splits a model that has an encoder and a decoder."""
    encoder = replace(
        model,
        layers=sum(count for _, count in model.encoder_groups),
        groups=model.encoder_groups,
        encoder_groups=(),
        encoder_tokens=None,
        causal=False,
        head_shape=HeadShape("none"),
        tied_head=False,
    )
    made, step = [], []
    for layer, count in model.groups:
        cross = layer.cross
        if cross is not None:
            over_encoder = [item for item in cross.matrices(model.width) if item.rows == "encoder"]
            made += count * over_encoder
            cross = replace(cross, reuses_keys=True)
        step.append((layer._replace(cross=cross), count))
    decoder = replace(
        model,
        layers=sum(count for _, count in step),
        groups=tuple(step),
        encoder_groups=(),
        fixed=(),
    )
    return EncodedPrompt(encoder, tuple(made), decoder)


def read_tokens(model: LayeredSpec, context_tokens: int) -> int:
    """Counts what the encoder reads of a prompt: all of it, or Whisper's frames whatever it is."""
    return model.encoder_tokens or context_tokens


def cached_of_output(model: LayeredSpec, tokens: int) -> int:
    """Counts numbers of keys and values of the encoder's output, all layers of cross-attention."""
    return sum(
        count * layer.cross.cached(tokens)
        for layer, count in model.groups
        if isinstance(layer.cross, Attention)
    )


def cached_of_text(model: LayeredSpec, tokens: int) -> int:
    """Counts numbers of keys and values of the text that the decoder has written."""
    return sum(count * layer.mixer.cached(tokens) for layer, count in model.groups if layer.mixer)
