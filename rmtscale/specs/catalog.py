"""Presets whose memory is known to the byte, by name: one family per file beside this one.

Those of ``current``, which are read layer by layer, are found by ``huggingface.read_model``.
"""

from __future__ import annotations

import difflib

from rmtscale.errors import BadInput
from rmtscale.specs import bert, gpt2, gpt_neo, llama, opt, pythia
from rmtscale.specs.model import ModelSpec

FAMILIES = {
    "OPT": opt.PRESETS,
    "GPT-2": gpt2.PRESETS,
    "BERT": bert.PRESETS,
    "GPT-Neo": gpt_neo.PRESETS,
    "Pythia": pythia.PRESETS,
    "Llama": llama.PRESETS,
}
PRESETS: dict[str, ModelSpec] = {
    name: spec for family in FAMILIES.values() for name, spec in family.items()
}
_BY_HUB_NAME = {spec.hub_name.lower(): spec for spec in PRESETS.values() if spec.hub_name}


def find_preset(name: str) -> ModelSpec | None:
    """The preset called ``name``, or the one whose checkpoint the hub calls so; else None."""
    key = name.lower()
    return PRESETS.get(key) or _BY_HUB_NAME.get(key)


def unknown_model(name: str) -> BadInput:
    """The error for a model that is neither a preset nor a config: names the nearest presets."""
    from rmtscale.specs.current import PRESETS as CURRENT

    names = (*PRESETS, *CURRENT)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return BadInput(
        f"model {name!r}: {hint}expected a preset ('rmtscale models' lists them), a config.json "
        "or its folder, or a hub name such as facebook/opt-125m"
    )
