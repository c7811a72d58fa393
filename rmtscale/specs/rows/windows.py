"""Which layers look back a bounded way: the patterns that types have for it."""

from __future__ import annotations

from rmtscale.specs.rows.fields import Fields


def typed(key: str, fields: Fields, index: int, layers: int, full: bool) -> int:
    """The window of a layer: by ``layer_types`` where the config has them, else as ``full`` says.

    A chunked layer (Llama 4) looks back to the start of its chunk, at most so far.
    """
    names = fields.words("layer_types", layers)
    kind = names[index] if names else ("full_attention" if full else "sliding_attention")
    if kind == "chunked_attention":
        return fields.count("attention_chunk_size")
    return fields.count(key) if kind == "sliding_attention" else 0


def every_layer(fields: Fields, index: int, layers: int) -> int:
    """All layers have it, if the config has one (Mistral)."""
    del index, layers
    return fields.count("sliding_window")


def late_layers(fields: Fields, index: int, layers: int) -> int:
    """Only if it is switched on, and only behind ``max_window_layers`` (Qwen2)."""
    fields.count("sliding_window")
    fields.count("max_window_layers")
    names = fields.words("layer_types", layers)
    if not fields.flag("use_sliding_window"):
        return 0
    full = index < fields.count("max_window_layers")
    return typed("sliding_window", fields, index, layers, names is None and full)


def alternating(fields: Fields, index: int, layers: int) -> int:
    """Every second layer, the first among them (Gemma 2, gpt-oss)."""
    return typed("sliding_window", fields, index, layers, bool(index % 2))


def all_but_every(period: int, key: str = "sliding_window_pattern"):  # type: ignore[no-untyped-def]
    """All but every so many-th layer (Gemma 3: six, Cohere 2, OLMo 3: four)."""

    def window(fields: Fields, index: int, layers: int) -> int:
        every = fields.count(key) or period
        return typed("sliding_window", fields, index, layers, not (index + 1) % every)

    return window
