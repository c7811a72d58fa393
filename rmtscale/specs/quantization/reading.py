"""The quantisation of a model: read from its config, or asked for on the command line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.quantization import formats
from rmtscale.specs.quantization.formats import Format, Quantization, QuantizedMatrices
from rmtscale.specs.quantization.linears import HEAD, Linear, NoNames, linears
from rmtscale.specs.quantization.methods import METHODS, NotCounted, Scheme, method_of
from rmtscale.specs.quantization.patterns import Names, unknown

WEIGHTS = ("int8", "fp8", "nf4", "nf4-double", "int4")
"""Names that ``--weights`` takes; ``int4:64`` names the size of its groups."""
_GROUP = 128


def read_quantization(
    config: Mapping[str, Any], model: ModelSpec
) -> tuple[Quantization | None, tuple[str, ...]]:
    """The quantisation that a ``quantization_config`` says, and notes on what is not counted.

    None, with a note that says why, where the bytes of the method are not known.
    """
    name = method_of(config)
    try:
        if name not in METHODS:
            raise NotCounted("its layout is not known")
        scheme = METHODS[name](config)
        quantization = _quantization(name, model, scheme.chosen, _numbered(scheme))
        return quantization, _unmapped(name, scheme, model)
    except NotCounted as reason:
        note = str(reason)
    except NoNames:
        note = f"the linear layers of a {model.kind} are not named"
    except re.error as error:
        note = f"an expression in a list of names cannot be read ({error})"
    return None, (f"quantization {name}: {note}; weights are taken in the dtype asked for",)


def quantize(model: ModelSpec, weights: str) -> ModelSpec:
    """The model with all linear layers but its head stored as ``weights`` says, for inference.

    Args:
        model: one whose weights are plain.
        weights: one of ``WEIGHTS``, or ``int4`` with a group size: ``int4:64``.

    Raises:
        BadInput: another name, a group that does not divide a width, a model that is stored in
            fewer bits already or whose linear layers are not known.
    """
    if model.quantization is not None:
        raise BadInput(
            f"weights {weights!r}: expected a model with plain weights, {model.name} is stored as "
            f"{model.quantization.title}"
        )
    layout = asked_format(weights)

    def chosen(linear: Linear, names: Names) -> Format | None:
        del names
        return None if linear.term == HEAD else layout

    try:
        quantization = _quantization(weights, model, chosen, numbered=False)
    except NotCounted as reason:
        raise BadInput(f"weights {weights!r}: {reason}") from None
    except NoNames as reason:
        raise BadInput(f"weights {weights!r}: {reason}") from None
    return replace(model, quantization=quantization)


def asked_format(weights: str) -> Format:
    """The layout that a name on the command line stands for.

    Raises:
        BadInput: another name, or a group size that is no whole number above zero.
    """
    name, _, group = weights.partition(":")
    plain = {
        "int8": formats.LLM_INT8,
        "fp8": formats.FP8_TENSOR,
        "nf4": formats.NF4,
        "nf4-double": formats.NF4_NESTED,
    }
    if name in plain and not group and ":" not in weights:
        return plain[name]
    if name != "int4" or not (group.isdecimal() or ":" not in weights) or group == "0":
        raise BadInput(
            f"weights {weights!r}: expected {quoted_list(WEIGHTS)}, or a group size as in int4:64"
        )
    return formats.awq(int(group or _GROUP))


def _numbered(scheme: Scheme) -> bool:
    """Whether experts are listed one by one."""
    return any(re.search(r"experts\.\d", item) for item in scheme.lists[0])


def _quantization(
    title: str,
    model: ModelSpec,
    chosen: Callable[[Linear, Names], Format | None],
    numbered: bool,
) -> Quantization:
    """Every linear layer in its layout, equal ones together."""
    counts: Counter[tuple[str, Format, int, int]] = Counter()
    for linear, layout, copies in _layouts(model, chosen, numbered):
        if not layout.fits(linear.inner, linear.outer):
            raise NotCounted(
                f"a matrix of {linear.inner} inputs and {linear.outer} outputs, expected "
                f"multiples of {layout.inner_multiple} and {layout.outer_multiple}"
            )
        counts[linear.term, layout, linear.inner, linear.outer] += copies
    words = "; ".join(dict.fromkeys(layout.title for _, layout, _, _ in counts))
    asked, _, _ = title.replace("-", ":").partition(":")  # of ``nf4-double``, ``int4:64``
    return Quantization(
        words if words.startswith(asked) else f"{title}: {words}",
        tuple(QuantizedMatrices(*key, copies) for key, copies in counts.items()),
    )


def _layouts(
    model: ModelSpec, chosen: Callable[[Linear, Names], Format | None], numbered: bool
) -> Iterator[tuple[Linear, Format, int]]:
    for number, linear in linears(model):
        if numbered and linear.copies > 1:
            for expert in range(linear.copies):
                layout = chosen(linear, linear.named(number, expert))
                if layout is not None:
                    yield linear, layout, 1
            continue
        layout = chosen(linear, linear.named(number))
        if layout is not None:
            yield linear, layout, linear.copies


def _unmapped(name: str, scheme: Scheme, model: ModelSpec) -> tuple[str, ...]:
    """A note on names in the lists that nothing of the model has."""
    patterns, match = scheme.lists
    every = [linear.named(number) for number, linear in linears(model)]

    def found(pattern: str) -> bool:
        listed = match([pattern])
        return any(listed(names) for names in every)

    missed = unknown(patterns, found, model.layers)
    if not missed:
        return ()
    shown = ", ".join(missed[:3]) + (", ..." if len(missed) > 3 else "")
    return (f"quantization {name}: {shown} name nothing that is known of a {model.kind}",)
