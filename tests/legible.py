"""What keeps a picture from being read: found by painting it into a list instead of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path

README_PIXELS = 830
"""The width at which a README shows a picture."""
LEAST_PIXELS = 7.4
LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2.1, success criterion 1.4.3."""
MOST_SERIES = 5
DPI = 160
_SEEN = 1.35
"""A line of less contrast with what it lies on is a grid: names may stand on it."""


class Ink(NamedTuple):
    """A stroke, a mark or an area as it was painted, in pixels."""

    kind: str
    """``line``, ``mark`` or ``area``."""
    points: Any
    """(N, 2); NaN where the pen is lifted."""
    colour: tuple[float, float, float]
    alpha: float
    width: float
    order: int


class Words(NamedTuple):
    """A text as it was painted: its box in pixels, in the colour that it has on its ground."""

    text: str
    box: tuple[float, float, float, float]
    colour: tuple[float, float, float]
    alpha: float
    size_points: float
    order: int


@dataclass
class Painted:
    """All that one figure paints."""

    width: float
    height: float
    inks: list[Ink] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)


_sizes: dict[tuple[Any, ...], Any] = {}
"""Of a text in a font: setting it takes the time, and axes have the same numbers often."""


class _Recorder(RendererBase):
    """Paints nothing, and keeps what it was asked to paint."""

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        canvas: Any = FigureCanvasAgg(figure)
        self.agg: Any = canvas.get_renderer()
        self.dpi = figure.dpi
        self.painted = Painted(self.agg.width, self.agg.height)

    def _next(self) -> int:
        return len(self.painted.inks) + len(self.painted.words)

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> Any:
        key = (self.dpi, s, hash(prop), ismath)
        if key not in _sizes:
            _sizes[key] = self.agg.get_text_width_height_descent(s, prop, ismath)
        return _sizes[key]

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.painted.width, self.painted.height

    def points_to_pixels(self, points: Any) -> Any:
        return points * self.dpi / 72

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        points = _cut(_polyline(path.transformed(transform)), gc)
        alpha = gc.get_alpha()
        for colour, kind, width in (
            (rgbFace, "area", 0.0),
            (gc.get_rgb() if gc.get_linewidth() else None, "line", gc.get_linewidth()),
        ):
            if colour is None or not len(points):
                continue
            strength = colour[3] if len(colour) > 3 and not gc.get_forced_alpha() else alpha
            if strength:
                self.painted.inks.append(
                    Ink(kind, points, to_rgb(colour[:3]), strength, width, self._next())
                )

    def draw_markers(
        self,
        gc: Any,
        marker: Any,
        shift: Any,
        path: Any,
        trans: Any,
        rgbFace: Any = None,  # noqa: ARG002
    ) -> None:
        shape = _polyline(marker.transformed(shift))
        width = gc.get_linewidth()
        for place in _polyline(path.transformed(trans)):
            points = _cut(shape + place, gc)
            if len(points):
                self.painted.inks.append(
                    Ink("mark", points, to_rgb(gc.get_rgb()[:3]), 1.0, width, self._next())
                )

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,  # noqa: ARG002
        mtext: Any = None,  # noqa: ARG002
    ) -> None:
        width, height, descent = self.get_text_width_height_descent(s, prop, False)
        # Ink is less than the line that is kept free for it.
        left, low, up = 0.5, -descent + 0.12 * height, 0.86 * height - descent
        corners = np.array([(left, low), (width - left, low), (width - left, up), (left, up)])
        turn = np.deg2rad(angle)
        turned = corners @ np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        ) + (x, y)
        box = (*turned.min(axis=0), *turned.max(axis=0))
        self.painted.words.append(
            Words(
                s,
                tuple(map(float, box)),  # type: ignore[arg-type]
                to_rgb(gc.get_rgb()[:3]),
                gc.get_alpha(),
                prop.get_size_in_points(),
                self._next(),
            )
        )

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        pass

    def flipy(self) -> bool:
        return False


def _polyline(path: Path) -> Any:
    """Vertices of a path, curves as short strokes; NaN between its parts."""
    vertices: Any = path.vertices
    if path.codes is None:
        return np.asarray(vertices, float)
    parts: list[Any] = []
    for part in path.to_polygons(closed_only=False):
        parts += [np.asarray(part, float), np.full((1, 2), np.nan)]
    return np.vstack(parts[:-1]) if parts else np.empty((0, 2))


def _cut(points: Any, gc: Any) -> Any:
    """Leaves out what lies beyond the rectangle that is painted in."""
    rectangle = gc.get_clip_rectangle()
    if rectangle is None or not len(points):
        return points
    x0, y0, x1, y1 = rectangle.extents
    inside = (
        Path(np.nan_to_num(points, nan=-1e6)).clip_to_bbox(rectangle, inside=True)
        if (len(points) > 2 and np.allclose(points[0], points[-1]))
        else None
    )
    if inside is not None:
        return np.asarray(inside.vertices, float)
    kept = np.array(points, float)
    clipped: list[Any] = []
    for a, b in pairwise(kept):
        part = _segment_in(a, b, (x0 - 1, y0 - 1, x1 + 1, y1 + 1))
        if part is not None:
            clipped += [part[0], part[1], (np.nan, np.nan)]
    if len(kept) == 1 and x0 - 1 <= kept[0][0] <= x1 + 1 and y0 - 1 <= kept[0][1] <= y1 + 1:
        return kept
    return np.array(clipped) if clipped else np.empty((0, 2))


def _segment_in(a: Any, b: Any, box: tuple[float, float, float, float]) -> Any:
    """The part of a stroke that lies in a box (Liang and Barsky); None where there is none."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    start, end = 0.0, 1.0
    delta = (b[0] - a[0], b[1] - a[1])
    for step, room in (
        (-delta[0], a[0] - box[0]),
        (delta[0], box[2] - a[0]),
        (-delta[1], a[1] - box[1]),
        (delta[1], box[3] - a[1]),
    ):
        if step == 0:
            if room < 0:
                return None
        elif step < 0:
            start = max(start, room / step)
        else:
            end = min(end, room / step)
    if start > end:
        return None
    return [(a[0] + t * delta[0], a[1] + t * delta[1]) for t in (start, end)]


def paint(figure: Figure) -> Painted:
    """Lays a figure out and paints it into a list."""
    figure.set_dpi(DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # it is laid out by now
    recorder = _Recorder(figure)
    figure.draw(recorder)
    return recorder.painted


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance, WCAG 2.1."""
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    """Contrast ratio, WCAG 2.1: 1 to 21."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _over(colour: Any, alpha: float, ground: Any) -> tuple[float, float, float]:
    mixed = [alpha * part + (1 - alpha) * below for part, below in zip(colour, ground, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _ground(painted: Painted, words: Words) -> tuple[float, float, float]:
    """The colour behind the middle of a text."""
    ground = (1.0, 1.0, 1.0)
    middle = (words.box[0] + words.box[2]) / 2, (words.box[1] + words.box[3]) / 2
    for ink in painted.inks:
        if ink.kind == "area" and ink.order < words.order and len(ink.points) > 2:
            points = ink.points[np.isfinite(ink.points).all(axis=1)]
            if Path(points).contains_point(middle):
                ground = _over(ink.colour, ink.alpha, ground)
    return ground


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def text_over_text(painted: Painted) -> Iterator[str]:
    """Texts whose letters touch."""
    for one, other in combinations(painted.words, 2):
        if _meet(one.box, other.box):
            yield f"{one.text!r} lies on {other.text!r}"


def text_over_line(painted: Painted) -> Iterator[str]:
    """Texts that a line or a mark runs through, in front or behind."""
    white = (1.0, 1.0, 1.0)
    seen = [
        ink
        for ink in painted.inks
        if ink.kind != "area" and contrast(_over(ink.colour, ink.alpha, white), white) > _SEEN
    ]
    lows, highs = (
        np.array([choose(ink.points, axis=0) for ink in seen]).reshape(-1, 2)
        for choose in (np.nanmin, np.nanmax)
    )
    rooms = np.array([ink.width / 2 for ink in seen]).reshape(-1, 1)
    for words in painted.words:
        corner, other = np.array(words.box[:2]), np.array(words.box[2:])
        near = ((lows - rooms < other) & (highs + rooms > corner)).all(axis=1)
        for at in np.flatnonzero(near):
            points, room = seen[at].points, seen[at].width / 2
            box = (*(corner - room), *(other + room))
            if seen[at].kind == "mark" or any(
                _segment_in(a, b, box) is not None for a, b in pairwise(points)
            ):
                yield f"a {seen[at].kind} runs through {words.text!r}"
                break


def clipped(painted: Painted) -> Iterator[str]:
    """Texts that leave the picture."""
    for words in painted.words:
        x0, y0, x1, y1 = words.box
        if x0 < 0 or y0 < 0 or x1 > painted.width or y1 > painted.height:
            yield f"{words.text!r} is cut off"


def faint(painted: Painted) -> Iterator[str]:
    """Texts of too little contrast with what they stand on."""
    for words in painted.words:
        ground = _ground(painted, words)
        found = contrast(_over(words.colour, words.alpha, ground), ground)
        if found < LEAST_CONTRAST:
            yield f"{words.text!r} has a contrast of {found:.2f}"


def small(painted: Painted) -> Iterator[str]:
    """Texts that are too small where a README shows the picture."""
    scale = min(1.0, README_PIXELS / (painted.width / DPI * 96)) * 96 / 72
    for words in painted.words:
        if words.size_points * scale < LEAST_PIXELS:
            yield f"{words.text!r} is {words.size_points * scale:.1f} pixels high in a README"


def series_of(axes: Axes) -> dict[str, list[Line2D]]:
    """The lines of each series: those of one name. What has no name is an aid to reading."""
    found: dict[str, list[Line2D]] = {}
    for line in axes.get_lines():
        name = line.get_gid()
        if name and line.get_visible() and len(line.get_xydata()):  # type: ignore[arg-type]
            if name.startswith(("row ", "failed ")):  # named where they stand
                continue
            for word in ("predicted ", "residual "):
                name = name.removeprefix(word)
            found.setdefault(name, []).append(line)
    return found


def _look(line: Line2D) -> tuple[Any, ...]:
    face = line.get_markerfacecolor() if line.get_marker() not in ("None", None, "") else "none"
    return to_rgb(line.get_color()), line.get_linestyle(), line.get_marker(), str(face)


def alike(figure: Figure) -> Iterator[str]:
    """Two series of one panel that nothing tells apart."""
    for axes in figure.axes:
        looks: dict[frozenset[tuple[Any, ...]], str] = {}
        for name, lines in series_of(axes).items():
            other = looks.setdefault(frozenset(map(_look, lines)), name)
            if other != name:
                yield f"{name!r} looks like {other!r} in {axes.get_title(loc='left')!r}"


def crowded(figure: Figure) -> Iterator[str]:
    """Panels of more series than can be told apart at a glance."""
    for axes in figure.axes:
        names = series_of(axes)
        if len(names) > MOST_SERIES:
            yield f"{len(names)} series in {axes.get_title(loc='left')!r}: {sorted(names)}"


def untitled(figure: Figure) -> Iterator[str]:
    """A figure without an answer over it, a panel without a name."""
    title = figure.get_suptitle()
    if not title:
        yield "no answer stands over it"


def blank(painted: Painted) -> Iterator[str]:
    """A quarter of the picture in which there is nothing."""
    cells = 8
    used = np.zeros((cells, cells), bool)
    boxes = [words.box for words in painted.words]
    for ink in painted.inks:
        # The sheet itself and grounds of panels are white.
        if ink.kind == "area" and contrast(ink.colour, (1.0, 1.0, 1.0)) < _SEEN:
            continue
        with np.errstate(invalid="ignore"):
            boxes.append((*np.nanmin(ink.points, axis=0), *np.nanmax(ink.points, axis=0)))
    for x0, y0, x1, y1 in boxes:
        columns = slice(
            int(max(x0, 0) / painted.width * cells), int(max(x1, 0) / painted.width * cells) + 1
        )
        rows = slice(
            int(max(y0, 0) / painted.height * cells), int(max(y1, 0) / painted.height * cells) + 1
        )
        used[rows, columns] = True
    half = cells // 2
    for bottom in (0, half):
        for left in (0, half):
            if not used[bottom : bottom + half, left : left + half].any():
                yield "a quarter of it is blank"


def problems(figure: Figure) -> list[str]:
    """Everything that keeps a figure from being read."""
    painted = paint(figure)
    return [
        *text_over_text(painted),
        *text_over_line(painted),
        *clipped(painted),
        *faint(painted),
        *small(painted),
        *alike(figure),
        *crowded(figure),
        *untitled(figure),
        *blank(painted),
    ]
