"""All rows by ``model_type``, and the types that are another's under a name of their own."""

from __future__ import annotations

from rmtscale.specs.rows import decoders, encoder_decoder, encoders, experts, recurrent
from rmtscale.specs.rows.row import Row

ROWS: dict[str, Row] = {
    **decoders.ROWS,
    **experts.ROWS,
    **encoders.ROWS,
    **recurrent.ROWS,
    **encoder_decoder.ROWS,
}
ALIASES = {"kimi_k2": "deepseek_v3"}
"""Types without a class in Transformers whose files name that of another type."""
NESTED = {
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
}
"""Types whose text part may stand beside the vision part in one flat config."""


def find_row(kind: object) -> tuple[str, Row] | None:
    """The type and its row; None for a type that has none."""
    if not isinstance(kind, str):
        return None
    kind = ALIASES.get(kind, kind)
    row = ROWS.get(kind)
    return None if row is None else (kind, row)
