"""One icon, drawn as a person might: another size, turn, line and paper each time."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SIDE = 224
"""Pixels a side, which is what the backbone sees."""
_CANVAS = 288
_STROKE = re.compile(r'stroke-width="([\d.]+)"')
_LINES, _PAPER = 0.4, 0.3
"""Shares of filled icons that become lines, and of pictures on something other than white."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Drawing:
    """An icon's own picture: an SVG body with its box."""

    body: str
    left: float
    top: float
    width: float
    height: float

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Drawing:
        """The icon ``name`` of an iconify set."""
        icon = content["icons"][name]

        def number(key: str, otherwise: float) -> float:
            return float(icon.get(key, content.get(key, otherwise)))

        return cls(icon["body"], number("left", 0), number("top", 0), number("width", 16), number("height", 16))

    def svg(self, ink: str, stroke: float) -> str:
        """The file, with ``currentColor`` as ``ink`` and every stroke ``stroke`` times as wide."""
        body = self.body.replace("currentColor", ink)
        if stroke != 1:
            body = _STROKE.sub(lambda found: f'stroke-width="{float(found[1]) * stroke:.3g}"', body)
        box = f"{self.left} {self.top} {self.width} {self.height}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{_CANVAS}" height="{_CANVAS}">{body}</svg>'
        )


def draw_view(drawing: Drawing, chance: np.random.Generator) -> Image.Image:
    """One view ``(224, 224)`` in RGB.

    Raises:
        ValueError: when the SVG cannot be drawn or shows nothing.
    """
    grey = int(chance.integers(0, 90)) if chance.random() < 0.7 else 0
    ink = f"#{grey:02x}{grey:02x}{grey:02x}"
    if chance.random() < 0.12:
        ink = "#" + "".join(f"{value:02x}" for value in chance.integers(0, 200, 3))
    png = resvg_py.svg_to_bytes(drawing.svg(ink, float(np.exp(chance.uniform(-0.8, 0.5)))), skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png)), formats=("PNG",)).convert("RGBA")
    image = _place(image, chance)
    pixels = np.array(image, np.float32) / 255
    if chance.random() < 0.12:
        _rub_out(pixels, chance)
    colour, cover = pixels[..., :3], pixels[..., 3:]
    if cover.max() < 0.5:
        raise ValueError("nothing is drawn")
    on_white = colour * cover + 1 - cover
    filled = float(cover.mean()) > 0.12
    coloured = float(np.ptp(colour, axis=2)[cover[..., 0] > 0.5].mean()) > 0.08
    if filled and chance.random() < (0.5 if coloured else _LINES):
        lines = _lines(on_white, chance)
        shown = np.repeat(1 - lines[..., None] * chance.uniform(0.55, 1), 3, 2)
        if chance.random() < 0.1:
            paper = _paper(chance)
            shown = paper * shown
    else:
        if not coloured:
            cover = _thickness(cover, chance)
        if coloured and chance.random() < 0.15:
            colour = np.repeat(colour.mean(2, keepdims=True), 3, 2)
        paper = _paper(chance) if chance.random() < (0.5 if coloured else _PAPER) else np.float32(1)
        if not coloured and np.mean(paper) < 0.45:
            colour = 1 - colour
        shown = colour * cover + paper * (1 - cover)
        if chance.random() < 0.03:
            shown = 1 - shown
    image = Image.fromarray((np.clip(shown, 0, 1) * 255).astype(np.uint8))
    if chance.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(chance.uniform(0.3, 1.1))))
    return image


def _place(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Scaled, turned, mirrored and wobbled onto the view, with nothing round it."""
    scale = chance.uniform(0.5, 1.05) * SIDE / _CANVAS
    stretch = np.exp(chance.uniform(-0.15, 0.15))
    turn = np.deg2rad(chance.normal(0, 9))
    flip = -1 if chance.random() < 0.5 else 1
    forward = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
        [flip * scale * stretch, scale / stretch]
    )
    back = np.linalg.inv(forward)
    shift = chance.uniform(-0.06, 0.06, 2) * SIDE
    steps = 5
    ticks = np.linspace(0, SIDE, steps + 1).round().astype(int)
    wobble = chance.normal(0, chance.uniform(0, 8), (steps + 1, steps + 1, 2))

    def source(row: int, column: int) -> tuple[float, float]:
        at = np.array([ticks[column], ticks[row]]) - SIDE / 2 - shift + wobble[row, column]
        x, y = back @ at + _CANVAS / 2
        return float(x), float(y)

    mesh = []
    for row in range(steps):
        for column in range(steps):
            box = (int(ticks[column]), int(ticks[row]), int(ticks[column + 1]), int(ticks[row + 1]))
            corners = (
                *source(row, column), *source(row + 1, column),
                *source(row + 1, column + 1), *source(row, column + 1),
            )  # fmt: skip
            mesh.append((box, corners))
    return image.transform((SIDE, SIDE), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _rub_out(pixels: Pixels, chance: np.random.Generator) -> None:
    """Gaps in a drawing ``(224, 224, 4)``, in place: patches of it are gone."""
    for _ in range(int(chance.integers(1, 4))):
        size = int(chance.integers(10, 50))
        row, column = chance.integers(0, SIDE - size, 2)
        pixels[row : row + size, column : column + size, 3] = 0


def _spread(values: Pixels, steps: int) -> Pixels:
    """The largest value within ``steps`` pixels, up, down, left and right."""
    for _ in range(steps):
        wide = np.pad(values, 1, mode="edge")
        values = np.maximum.reduce(
            [wide[1:-1, 1:-1], wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]]
        )
    return values


def _lines(picture: Pixels, chance: np.random.Generator) -> Pixels:
    """Where colours change, as ink ``(224, 224)`` in [0, 1]."""
    wide = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = np.abs(wide[1:-1, 2:] - wide[1:-1, :-2]).max(2)
    down = np.abs(wide[2:, 1:-1] - wide[:-2, 1:-1]).max(2)
    lines = np.clip((np.maximum(across, down) - 0.05) * chance.uniform(2, 6), 0, 1).astype(np.float32)
    return _spread(lines, int(chance.integers(0, 3)))


def _thickness(cover: Pixels, chance: np.random.Generator) -> Pixels:
    """Ink a pixel thicker, a pixel thinner or as it is."""
    drawn = chance.random()
    if drawn < 0.3:
        return _spread(cover[..., 0], int(chance.integers(1, 3)))[..., None]
    if drawn < 0.5:
        thinner = 1 - _spread(1 - cover[..., 0], 1)
        if thinner.max() > 0.8:
            return thinner[..., None]
    return cover


def _paper(chance: np.random.Generator) -> Pixels:
    """Something to draw on ``(224, 224, 3)``: a plain colour, or clouds as in a painting's background."""
    base = chance.uniform(0.1, 1, 3).astype(np.float32)
    if chance.random() < 0.4:
        return np.broadcast_to(base, (SIDE, SIDE, 3)).astype(np.float32)
    clouds = np.zeros((SIDE, SIDE, 3), np.float32)
    for power in range(1, 7):
        cells = 2**power
        coarse = (chance.random((cells, cells, 3)) * 255).astype(np.uint8)
        layer = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        clouds += (np.asarray(layer, np.float32) / 255 - 0.5) / cells**0.7
    return np.clip(base + clouds * chance.uniform(0.2, 1.2), 0, 1).astype(np.float32)
