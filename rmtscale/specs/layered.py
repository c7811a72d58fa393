"""The shape of any model: groups of equal layers, and what stands before and behind them.

``ModelSpec`` is the special case of layers that are all alike, of the six families that an RMT is
built around. ``LayeredSpec`` is every other model: its own fields say what it is made of, and those
it has from ``ModelSpec`` are a summary (``heads`` those of its first attention, and so on).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.layers import Groups, Layer
from rmtscale.specs.model import ModelSpec, require_sizes
from rmtscale.specs.parts import Irregular, Matrix


class HeadShape(NamedTuple):
    """Describes what stands behind the last layer."""

    title: str
    """In words: ``language model``, ``sequence classification``, ``none``."""
    matrices: tuple[Matrix, ...] = ()
    """Those of a token are applied to the text; those with ``rows="once"`` to one vector."""
    vectors: int = 0
    """Norms of the head, and biases that no matrix multiplication adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayeredSpec(ModelSpec):
    """One model, layer by layer.

    Raises:
        BadInput: a size below 1, or groups that do not hold ``layers`` layers.
    """

    groups: Groups
    """The decoder's layers, or those of a model that is an encoder alone."""
    encoder_groups: Groups = ()
    """Those of the encoder beside a decoder."""
    encoder_tokens: int | None = None
    """Tokens that the encoder always sees (Whisper's frames); None: as many as the decoder."""
    head_shape: HeadShape
    tables: int = 0
    """Numbers in embedding tables besides the tokens': positions, token types."""
    outer: tuple[Matrix, ...] = ()
    """Matrices outside the layers and the head: projections of the embedding."""
    outer_vectors: int = 0
    """Numbers outside the layers that are in no matrix: the final norm, the embedding's norm."""
    norm_parts: int = 1
    """Vectors of a norm: weight, weight and bias, or none."""
    fixed: tuple[Irregular, ...] = ()
    """Products of one sample whatever its length (Whisper's convolutions)."""
    shared_layers: bool = False
    """All layers of a group have the same weights (ALBERT)."""
    causal: bool = True
    config: str = field(default="", compare=False, repr=False)
    """The config that it was read from, as JSON: what its real module is built of."""
    cached: bool = True
    """Text is written with a cache of keys and values, or a state."""
    written_like: str = ""
    """Family whose modules these are but for the shape: memory is then known to the byte."""

    def __post_init__(self) -> None:
        require_sizes(self)
        held = sum(count for _, count in (*self.groups, *self.encoder_groups))
        if held != self.layers:
            raise BadInput(f"layers {self.layers}: expected {held}, which the groups hold")

    def __hash__(self) -> int:
        """Hashes what tells most models apart; hashing every layer takes longer than an estimate.

        Models of one hash are still compared in every field.
        """
        return hash((self.name, self.kind, self.layers, self.width, self.heads, self.vocabulary))

    @property
    def decoder(self) -> bool:
        """Causal: a token sees only what stands before it."""
        return self.causal

    @property
    def all_groups(self) -> Groups:
        return (*self.encoder_groups, *self.groups)

    @property
    def alike(self) -> bool:
        """Whether its layers differ in their windows at most."""
        first = self.groups[0][0]
        return not self.encoder_groups and all(
            layer == first or _without_window(layer) == _without_window(first)
            for layer, _ in self.groups
        )

    @property
    def windows(self) -> frozenset[int]:
        """How far back its attention looks, by layer; 0 is to the start."""
        mixers = (layer.mixer for layer, _ in self.groups)
        return frozenset(item.window for item in mixers if isinstance(item, Attention))


def _without_window(layer: Layer) -> Layer:
    mixer = layer.mixer
    return layer._replace(mixer=replace(mixer, window=0) if isinstance(mixer, Attention) else mixer)


def plain_attention(model: ModelSpec) -> bool:
    """Whether every layer has the attention that ``heads``, ``kv_heads`` and ``head_width`` say.

    Then another way to mix tokens can be put in its place. Windows may differ.
    """
    if not isinstance(model, LayeredSpec):
        return True
    if model.encoder_groups:
        return False
    mixers = {
        replace(layer.mixer, window=0) if isinstance(layer.mixer, Attention) else None
        for layer, _ in model.groups
    }
    (first, *others) = mixers
    if others or first is None:
        return False
    shared = first.kv_rank or first.keys_are_values or first.reuses_keys or first.output_gate
    return not (shared or first.index_heads or first.value != first.head_width)
