"""Tiny real pictures: four shapes, as photos and as sketches."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "cross", "square", "triangle")


def draw(shape, look, rng):
    """One picture: ``photo`` is a filled bright shape on noise, ``sketch`` an outline on white."""
    size = 40
    x, y = rng.integers(4, 10, size=2)
    box = [int(x), int(y), int(x) + 24, int(y) + 24]
    if look == "photo":
        noise = rng.integers(60, 120, size=(size, size, 3), dtype=np.uint8)
        image, fill, line = Image.fromarray(noise), tuple(int(v) for v in rng.integers(160, 255, 3)), None
    else:
        image, fill, line = Image.new("RGB", (size, size), "white"), None, (0, 0, 0)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = box
    if shape == "circle":
        pen.ellipse(box, fill=fill, outline=line, width=2)
    elif shape == "square":
        pen.rectangle(box, fill=fill, outline=line, width=2)
    elif shape == "triangle":
        pen.polygon(
            [(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=fill, outline=line, width=2
        )
    else:
        ink = fill or line
        pen.line([left, top, right, bottom], fill=ink, width=4)
        pen.line([left, bottom, right, top], fill=ink, width=4)
    return image


def make_pictures(root: Path, count=12, looks=("photo", "sketch"), shapes=SHAPES, seed=0) -> Path:
    """``root/<look>/<shape>/<n>.png``, ``count`` of each."""
    rng = np.random.default_rng(seed)
    for look in looks:
        for shape in shapes:
            folder = root / look / shape
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(shape, look, rng).save(folder / f"{number:02d}.png")
    return root
