"""How well a text of a colour can be read, and the darker shade that can."""

from __future__ import annotations

import functools

TEXT_CONTRAST = 4.6
"""A little over the least of WCAG 2.1, success criterion 1.4.3, which is 4.5."""


def contrast_with_white(colour: str) -> float:
    """Computes the contrast ratio of WCAG 2.1 between ``#RRGGBB`` and white."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


@functools.cache
def ink(colour: str) -> str:
    """Darkens a colour until a text of it can be read on white; one that can stays as it is."""
    while contrast_with_white(colour) < TEXT_CONTRAST:
        parts = [int(int(colour[at : at + 2], 16) * 0.96) for at in (1, 3, 5)]
        colour = "#{:02X}{:02X}{:02X}".format(*parts)
    return colour
