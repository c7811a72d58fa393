"""The linear layers of a model by their names in the released module, with their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from rmtscale.errors import BadInput
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import Layer
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.parts import Matrix
from rmtscale.specs.rows.catalog import find_row
from rmtscale.specs.rows.modules import Modules
from rmtscale.specs.uniform import uniform_groups

_PLACES = ("language_model.model.", "model.language_model.")
"""Where a language model's layers are inside a model that sees."""
HEAD = "head"


class Linear(NamedTuple):
    """Equal linear layers in one place: one, or one for each expert."""

    term: str
    """The cost term: ``qkv``, ``dense_up``."""
    inner: int
    outer: int
    copies: int
    names: tuple[str, ...]
    """All names it goes by, without the layer's number: ``model.layers.#.mlp.gate_proj``."""

    @property
    def numbers(self) -> int:
        """Counts the numbers of one of them."""
        return self.inner * self.outer

    def named(self, layer: int, expert: int = 0) -> tuple[str, ...]:
        """Its names in one layer, and of one expert."""
        return tuple(name.replace("#", str(layer)).replace("*", str(expert)) for name in self.names)


class NoNames(BadInput):
    """A type of which it is not known what its linear layers are called."""


def linears(model: ModelSpec) -> Iterator[tuple[int, Linear]]:
    """Every linear layer with the number of its layer; those outside of the layers have -1.

    Routers and whatever else no method quantises are not among them, nor is a tied head.

    Raises:
        NoNames: the type's modules have no names in its row.
    """
    found = find_row(model.kind)
    modules = found[1].modules if found else None
    if modules is None or (isinstance(model, LayeredSpec) and model.encoder_groups):
        raise NoNames(f"model {model.name!r}: the linear layers of a {model.kind} are not named")
    groups = model.groups if isinstance(model, LayeredSpec) else uniform_groups(model)
    index = 0
    for layer, count in groups:
        for linear in _of_layer(layer, model.width, tuple(sorted(modules.items()))):
            for number in range(index, index + count):
                yield number, linear
        index += count
    for item in _outer(model):
        for role, outer in item.roles:
            if role in modules:
                names = _spelled(modules[role])
                yield -1, Linear("projection", item.inner, outer, 1, names)
    if _has_head(model):
        yield (
            -1,
            Linear(HEAD, model.embedding_width, model.vocabulary, 1, _spelled(modules["head"])),
        )


def _outer(model: ModelSpec) -> tuple[Matrix, ...]:
    if isinstance(model, LayeredSpec):
        return model.outer
    if not model.projected_embedding:
        return ()
    narrow, width = model.embedding_width, model.width
    return (
        Matrix("projection", narrow, width, roles=(("project_in", width),)),
        Matrix("projection", width, narrow, roles=(("project_out", narrow),)),
    )


def _has_head(model: ModelSpec) -> bool:
    """Whether it has a head of its own weights that gives logits of words."""
    if isinstance(model, LayeredSpec):
        heads = model.head_shape.matrices
        return any(item.outer == model.vocabulary and not item.tied for item in heads)
    return model.head == "language-model" and not model.tied_head


@lru_cache(maxsize=4096)
def _of_layer(layer: Layer, width: int, modules: tuple[tuple[str, str], ...]) -> tuple[Linear, ...]:
    """The linear layers of one layer; roles of one name are one module."""
    names: Modules = dict(modules)
    made: dict[tuple[str, int], Linear] = {}
    for part in layer.parts:
        for item in part.matrices(width):
            for role, outer in item.roles:
                if role not in names:
                    continue
                copies = item.copies * item.outer // sum(outer for _, outer in item.roles)
                key = (names[role], item.inner)
                one = Linear(item.name, item.inner, outer, copies, _spelled(names[role], names))
                if key in made:
                    one = one._replace(outer=outer + made[key].outer)
                made[key] = one
    return tuple(made.values())


def _spelled(name: str, modules: Modules | None = None) -> tuple[str, ...]:
    """All spellings of a name, in a model of its own and inside of one that sees."""
    places = modules["layers"].split("|") if modules else [""]
    whole = [
        f"{place}.#.{one}" if place else one for place, one in product(places, name.split("|"))
    ]
    spelled = []
    for one in whole:
        bare = one.removeprefix("model.")
        spelled += [one, *(place + bare for place in _PLACES)]
        if bare == one:  # a head stands beside the language model's layers
            spelled.append(f"language_model.{one}")
    return tuple(dict.fromkeys(spelled))
