"""The page itself: one that asks a server on this machine, or one that holds all its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from rmtscale.app.answers import MODES, Asked, reply
from rmtscale.errors import RmtscaleError
from rmtscale.report.template import render
from rmtscale.specs import catalog, current
from rmtscale.specs.devices import DEVICES
from rmtscale.specs.precision import PRECISIONS
from rmtscale.units import format_tokens

_LENGTHS = tuple(2**power for power in range(9, 22))
_SEGMENTS = ("auto", "128", "256", "512", "1024", "2048", "4096", "8192")
_GPUS = tuple(2**power for power in range(11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Lists what each control of the page can be set to; the first value is shown at first."""

    model: Sequence[str]
    device: Sequence[str]
    mode: Sequence[str] = tuple(MODES)
    tokens: Sequence[str] = tuple(map(str, _LENGTHS))
    gpus: Sequence[str] = tuple(map(str, _GPUS))
    segment_size: Sequence[str] = _SEGMENTS
    precision: Sequence[str] = tuple(PRECISIONS)
    first: Mapping[str, str] = field(default_factory=dict)
    """Values that are shown at first, where those are not the first of their lists."""

    def lists(self) -> dict[str, list[str]]:
        """Returns the values by control."""
        names = ("model", "device", "mode", "tokens", "gpus", "segment_size", "precision")
        return {name: list(getattr(self, name)) for name in names}


def every_choice() -> Choices:
    """Returns all presets and devices, for a page with a server behind it."""
    return Choices(
        model=(*catalog.PRESETS, *current.PRESETS),
        device=tuple(DEVICES),
        first={"model": "llama-3-8b", "device": "h100-sxm", "tokens": "32768", "precision": "bf16"},
    )


def few_choices(models: Sequence[str], devices: Sequence[str]) -> Choices:
    """Returns a grid small enough to be answered beforehand: one GPU, bf16, doubling lengths."""
    return Choices(
        model=models,
        device=devices,
        gpus=("1",),
        segment_size=("auto",),
        precision=("bf16",),
        first={"tokens": "32768"},
    )


def live_page() -> str:
    """Returns the page that asks the server it came from."""
    return _render(every_choice(), None)


def static_page(choices: Choices) -> str:
    """Returns a page that holds the answers to all its choices, and needs nothing else.

    Args:
        choices: names of presets and devices that are known; each combination is answered once.
    """
    lists = choices.lists()
    answers = {}
    for values in product(*lists.values()):
        asked = dict(zip(lists, values, strict=True))
        answers["|".join(values)] = answered(asked)
    return _render(choices, answers)


def answered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Answers what a page asks; what cannot be answered is one line under ``error``."""
    try:
        return reply(Asked.read(values))
    except RmtscaleError as error:
        return {"error": str(error)}


def _render(choices: Choices, answers: Mapping[str, Any] | None) -> str:
    return render(
        "rmtscale.app",
        "app.html",
        title="rmtscale: what a long input costs",
        asks_server=True,
        lists=choices.lists(),
        words={"mode": MODES, "tokens": {one: format_tokens(int(one)) for one in choices.tokens}},
        first=choices.first,
        live=answers is None,
        data=_script_json({"answers": answers, "lists": choices.lists()}),
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
