"""The head: what ``architectures`` says stands behind the layers.

A class's name is its type's prefix and what it is for: ``Qwen2`` + ``ForCausalLM``. The heads that
all decoders share are here; encoders have theirs in their rows.
"""

from __future__ import annotations

from dataclasses import replace

from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.layered import HeadShape, LayeredSpec
from rmtscale.specs.parts import Matrix
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.row import Row, switch

_LANGUAGE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
DECODER_HEADS = (
    *_LANGUAGE,
    "Model",
    "TextModel",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)


def labels_of(fields: Fields) -> int:
    """Classes of a classifier: ``num_labels``, or as many as ``id2label`` names; 2 by default."""
    names = fields.get("id2label")
    if fields.has("num_labels"):
        return fields.size("num_labels", 2)
    return len(names) if names else fields.size("num_labels", 2)


def class_of(row: Row, fields: Fields, built: str | None = None) -> str:
    """Finds how the model's class is called behind its prefix: ``ForCausalLM``.

    Args:
        built: a class's name to take in place of what ``architectures`` says.

    Raises:
        BadInput: a class of another type.
    """
    given = [built] if built else fields.get("architectures")
    if not given:
        return row.default_class
    name: str = given[0]
    for prefix in (row.prefix, *row.other_prefixes):
        if name.startswith(prefix) and name[len(prefix) :] in known_heads(row):
            return name[len(prefix) :]
    expected = quoted_list(f"{row.prefix}{head}" for head in known_heads(row))
    raise BadInput(
        f"model {fields.name!r}: architectures names {name!r}, which is none of the classes of "
        f"this type that are counted; expected {expected}"
    )


def known_heads(row: Row) -> tuple[str, ...]:
    return tuple(row.heads_table) if row.heads_table else DECODER_HEADS


def head_of(row: Row, fields: Fields, spec: LayeredSpec, name: str) -> HeadShape:
    """The head of a class: ``name`` is what stands behind the prefix."""
    if row.heads_table:
        return row.heads_table[name](fields, spec)
    width = spec.width
    if name in _LANGUAGE:
        matrix = Matrix(
            "head",
            spec.embedding_width,
            spec.vocabulary,
            switch(fields, row.head_bias),
            tied=spec.tied_head,
        )
        return HeadShape("language model", (matrix,))
    if name == "ForSequenceClassification":
        matrix = Matrix("head", width, labels_of(fields))
        return HeadShape("sequence classification", (matrix,))
    if name == "ForTokenClassification":
        return HeadShape("token classification", (Matrix("head", width, labels_of(fields), True),))
    if name == "ForQuestionAnswering":
        return HeadShape("question answering", (Matrix("head", width, 2, True),))
    return HeadShape("none")


def headed(
    row: Row, fields: Fields, spec: LayeredSpec, kind: str, built: str | None
) -> LayeredSpec:
    """The spec with the head that its class has."""
    name = class_of(row, fields, built)
    spec = row.variant(name, fields, spec)
    head = head_of(row, fields, spec, name)
    once = any(item.rows == "once" for item in head.matrices)
    classical = "classification" if once else "language-model"
    tied = spec.tied_head and any(item.tied for item in head.matrices)
    return replace(
        spec,
        kind=kind,
        head_shape=head,
        head=classical,  # type: ignore[arg-type]
        labels=labels_of(fields) if once else 0,
        tied_head=tied,
        written_like=spec.written_like if name in _LANGUAGE else "",
    )
