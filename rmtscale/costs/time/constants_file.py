"""A machine's constants as a file, and those that come with the package."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from rmtscale.costs.time.constants import TimeConstants, datasheet_constants
from rmtscale.errors import BadInput
from rmtscale.readers import load_json
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import find_device
from rmtscale.specs.link_speed import LinkSpeed
from rmtscale.specs.spread import Spread

SCHEMA_VERSION = 3
"""Versions 1 and 2 were efficiencies, fitted to steps; they are refused."""
_DIGITS = 5


def constants_text(constants: TimeConstants) -> str:
    """Returns the content of a file: each constant with the ends of its spread."""
    found = {name: [_short(one) for one in spread] for name, spread in constants.spreads.items()}
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "device": constants.device.name,
        "processors": constants.processors,
        "source": constants.source,
        "constants": found,
    }
    if constants.links:
        content["links"] = [
            [one.kind, one.ranks, [*map(_short, one.latency)], [*map(_short, one.bandwidth)]]
            for one in constants.links
        ]
    return json.dumps(content, indent=1) + "\n"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def read_constants(text: str, name: str, device: DeviceSpec | None = None) -> TimeConstants:
    """Reads what ``constants_text`` returned.

    Args:
        name: of the file, for messages.
        device: the GPU that it has to be of, if any.

    Raises:
        BadInput: no such file, of another device, or a constant that no machine has.
    """
    try:
        content: Any = load_json(text)
        version = content["schema_version"]
        named = str(content["device"]) if version == SCHEMA_VERSION else ""
        spreads = {key: _spread(ends) for key, ends in content.get("constants", {}).items()}
        links = tuple(
            LinkSpeed(str(kind), int(ranks), _spread(latency), _spread(bandwidth))
            for kind, ranks, latency, bandwidth in content.get("links", [])
        )
        processors, source = int(content.get("processors", 0)), str(content.get("source", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"calibration {name!r}: expected what rmtscale calibrate --measure wrote"
        ) from error
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"calibration {name!r}: schema_version {version}: expected {SCHEMA_VERSION}, which "
            "rmtscale calibrate --measure writes"
        )
    if device is not None and named != device.name:
        raise BadInput(f"calibration {name!r}: is of {named}, expected {device.name}")
    gpu = find_device(named) if device is None else device
    return TimeConstants(gpu, spreads, processors, measured=True, source=source, links=links)


def _spread(ends: Any) -> Spread:
    value, low, high = map(float, ends)
    return Spread(value, low, high)


@lru_cache(maxsize=64)
def known_constants(device: DeviceSpec) -> TimeConstants:
    """Returns the constants that come with the package, or else shares of the datasheet.

    Raises:
        BadInput: a device that is known for its memory only.
    """
    path = Path(__file__).with_name("gpus") / f"{device.name}.json"
    if not path.is_file():
        return datasheet_constants(device)
    return read_constants(path.read_text(encoding="utf-8"), path.name, device)
