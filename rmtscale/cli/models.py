"""``rmtscale models``: the presets, one model in full, or a folder of configs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli import options
from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import (
    Row,
    require_format,
    write_line,
    write_rows,
    write_table,
    write_text,
)
from rmtscale.cli.stored_weights import stored_dtype_bytes, stored_title
from rmtscale.costs.parameters import active_parameters, count_parameters
from rmtscale.costs.weights import weight_bytes
from rmtscale.specs.catalog import FAMILIES
from rmtscale.units import format_bytes, format_count, format_tokens

if TYPE_CHECKING:
    from rmtscale.specs.layers import Layer
    from rmtscale.specs.reading import Reading

_CACHE_BYTES = 2
"""Bytes of one number of a cache in 16 bits."""


def command(
    model: Annotated[
        str, typer.Argument(help="Preset, config.json, hub name, or a folder of configs.")
    ] = "",
    types: Annotated[
        bool, typer.Option("--types", help="The model types whose configs are read.")
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(help="Of a folder: a JSON file with what the real modules have."),
    ] = None,
    output_format: options.Format = "table",
) -> None:
    """The presets; or one model: parameters, head, layers, cache, and what is not counted.

    Example: rmtscale models llama-3-8b --format json
    """
    require_format(output_format)
    folder = bool(model) and Path(model).is_dir() and not (Path(model) / "config.json").is_file()
    if types:
        refuse_unread("none with --types", "model")
    if types or not folder:
        refuse_unread("with a folder of configs", "truth")
    if types:
        _write_types(output_format)
    elif not model:
        _write_presets(output_format)
    elif folder:
        from rmtscale.cli.model_folder import write_folder

        write_folder(Path(model), truth, output_format)
    else:
        _write_model(model, output_format)


def _write_presets(output_format: str) -> None:
    from rmtscale.specs.current import FAMILIES as CURRENT
    from rmtscale.specs.huggingface import resolve_model

    specs = [(family, spec) for family, presets in FAMILIES.items() for spec in presets.values()]
    specs += [(family, resolve_model(name)) for family, names in CURRENT.items() for name in names]
    rows: list[Row] = [
        {
            "family": family,
            "name": spec.name,
            "parameters": count_parameters(spec).total,
            "active_parameters": active_parameters(spec),
            "layers": spec.layers,
            "width": spec.width,
            "heads": spec.heads,
            "kv_heads": spec.kv_heads,
            "mlp_width": spec.mlp_width,
            "vocabulary": spec.vocabulary,
            "positions": spec.positions,
            "hub_name": spec.hub_name,
            "source": spec.source,
        }
        for family, spec in specs
    ]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_table(
        ["name", "parameters", "layers", "width", "heads", "kv heads", "positions"],
        [
            [
                row["name"],
                format_count(row["parameters"]),
                str(row["layers"]),
                str(row["width"]),
                str(row["heads"]),
                str(row["kv_heads"]),
                format_tokens(row["positions"]) if row["positions"] else "rotary",
            ]
            for row in rows
        ],
        text_columns=1,
    )


def _write_types(output_format: str) -> None:
    from rmtscale.specs.rows.catalog import ROWS

    rows: list[Row] = [
        {"model_type": kind, "classes": f"{row.prefix}{row.default_class}"}
        for kind, row in sorted(ROWS.items())
    ]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_table(
        ["type", "class"], [[row["model_type"], row["classes"]] for row in rows], text_columns=2
    )


def _write_model(name: str, output_format: str) -> None:
    from rmtscale.specs.huggingface import read_model
    from rmtscale.specs.reading import NoRow

    try:
        reading = read_model(name)
        row, notes = model_row(reading), reading.notes
    except NoRow as refused:
        row = options.counted_model(name, refused).row()
        notes = tuple(row["not_counted"])
    if output_format != "table":
        write_rows([row], output_format)
        return
    write_line(f"{row['name']}: {row['class'] or row['model_type']}")
    facts = {
        "parameters": f"{row['parameters']:,}",
        "active": f"{row['active_parameters']:,}" if row["active_parameters"] else "",
        "weights": f"{format_bytes(row['weight_bytes'])}, {row['weights']}"
        if row.get("weights")
        else "",
        "head": row["head"],
    }
    if row.get("groups"):
        cache, behind = (
            row[f"kv_cache_bytes_per_token{where}"] for where in ("", "_behind_windows")
        )
        facts["KV cache a token"] = format_bytes(cache)
        if behind != cache:
            facts["KV cache a token"] += f", {format_bytes(behind)} beyond the windows"
        facts["state a sequence"] = format_bytes(row["state_bytes"])
    write_table(["", ""], [[key, value] for key, value in facts.items() if value], text_columns=2)
    if row.get("groups"):
        _write_layers({"encoder": row["encoder_groups"], "decoder": row["groups"]})
    for note in notes:
        write_text(note)


def _write_layers(parts: dict[str, list[dict[str, Any]]]) -> None:
    """Writes one line for each kind of layer, however the kinds take turns."""
    counts: dict[tuple[str, ...], int] = {}
    for part, groups in parts.items():
        for group in groups:
            titles = [group[name]["title"] for name in ("mixer", "feed_forward")]
            if "cross_attention" in group:
                titles[0] += f", and over the encoder {group['cross_attention']['title']}"
            kind = (part, *titles)
            counts[kind] = counts.get(kind, 0) + group["count"]
    both = all(parts.values())
    write_table(
        ["layers", *(["part"] if both else []), "mixer", "feed-forward"],
        [[str(count), *kind[0 if both else 1 :]] for kind, count in counts.items()],
        prose=range(1, 3 + both),
    )
    if sum(map(len, parts.values())) > len(counts):
        write_text("Kinds of layers take turns; --format json has their order.")


def model_row(reading: Reading) -> Row:
    """Returns one model as plain numbers."""
    from rmtscale.costs.kept import cache_numbers, recurrent_state_numbers
    from rmtscale.specs.layered import LayeredSpec
    from rmtscale.specs.uniform import uniform_groups

    spec = reading.spec
    written_like = spec.written_like if isinstance(spec, LayeredSpec) else spec.kind
    encoder = spec.encoder_groups if isinstance(spec, LayeredSpec) else ()
    groups = spec.groups if isinstance(spec, LayeredSpec) else uniform_groups(spec)
    cached = spec.decoder
    far = 10**9  # behind every window
    return {
        "name": spec.name,
        "model_type": spec.kind,
        "class": reading.class_name,
        "head": reading.head,
        "labels": spec.labels,
        "parameters": count_parameters(spec).total,
        "active_parameters": active_parameters(spec),
        "weight_bytes": weight_bytes(spec, stored_dtype_bytes(reading.config)),
        "weights": stored_title(spec, reading.config),
        "parameters_by_part": {term.name: term.amount for term in count_parameters(spec).terms},
        "counted": "closed form",
        "memory": "confirmed"
        if written_like and spec.quantization is None
        else "upper bound, not confirmed",
        "layers": spec.layers,
        "width": spec.width,
        "embedding_width": spec.embedding_width,
        "vocabulary": spec.vocabulary,
        "tied_head": spec.tied_head,
        "groups": [_group(layer, count) for layer, count in groups],
        "encoder_groups": [_group(layer, count) for layer, count in encoder],
        "kv_cache_bytes_per_token": cached * cache_numbers(spec, 1) * _CACHE_BYTES,
        "kv_cache_bytes_per_token_behind_windows": cached
        * (cache_numbers(spec, far + 1) - cache_numbers(spec, far))
        * _CACHE_BYTES,
        "state_bytes": cached * recurrent_state_numbers(spec) * _CACHE_BYTES,
        "not_counted": list(reading.not_counted),
        "assumed": dict(reading.assumed),
    }


def _group(layer: Layer, count: int) -> dict[str, Any]:
    """Equal layers in words and numbers."""
    return {
        "count": count,
        "norms": layer.norms,
        "mixer": _part(layer.mixer),
        "feed_forward": _part(layer.feed_forward if layer.feed_forward.inner else None),
        **({"cross_attention": _part(layer.cross)} if layer.cross else {}),
    }


def _part(part: Any) -> dict[str, Any]:
    if part is None:
        return {"kind": "none", "title": "none"}
    fields = {key: value for key, value in asdict(part).items() if value not in (0, None, False)}
    kind = type(part).__name__
    return {"kind": kind, "title": part.title, **fields}
