"""``rmtscale models``: the presets."""

from __future__ import annotations

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_rows, write_table
from rmtscale.costs.parameters import count_parameters
from rmtscale.specs.catalog import FAMILIES
from rmtscale.units import format_count, format_tokens


def command(output_format: options.Format = "table") -> None:
    """The presets: name, shape, parameters, source.

    Example: rmtscale models --format csv
    """
    require_format(output_format)
    rows: list[Row] = [
        {
            "family": family,
            "name": spec.name,
            "parameters": count_parameters(spec).total,
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
        for family, presets in FAMILIES.items()
        for spec in presets.values()
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
