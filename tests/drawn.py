"""The numbers of a line in a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D


def points(line: Line2D) -> list[tuple[float, float]]:
    """``(x, y)`` of each point of a line, in the units of the axes."""
    x, y = (np.asarray(given, float).tolist() for given in (line.get_xdata(), line.get_ydata()))
    return list(zip(x, y, strict=True))
