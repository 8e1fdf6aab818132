"""A tiny real backbone and tiny real pictures, so that whole stories run in seconds."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from crosslens.backbones import BACKBONES, BackboneKind
from crosslens.backbones.base import Backbone
from crosslens.images.preprocess import Preprocess

SHAPES = ("circle", "cross", "square", "triangle")
SIDE = 32


class TinyTower(nn.Module):
    """Random fixed edge filters, pooled on a 4 x 4 grid: weak, but it sees shapes."""

    def __init__(self, seed=0, dim=64):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.out = nn.Linear(8 * 16, dim, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(self.conv.weight.shape, generator=generator) / 5)
            self.out.weight.copy_(torch.randn(self.out.weight.shape, generator=generator) / 11)

    def forward(self, images):
        x = torch.relu(self.bn(self.conv(images)))
        return self.out(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1))


class TinyBackbone(Backbone):
    """A backbone without a text tower."""

    def __init__(self, seed=0, dim=64):
        self.name = "tiny" if seed == 0 else f"tiny:{seed}"
        self.dim = dim
        self.preprocess = Preprocess(resize=SIDE, crop=SIDE)
        self.tower = TinyTower(seed, dim).eval().requires_grad_(False)


def load_tiny(source):
    return TinyBackbone(int(source or 0))


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


def register_tiny():
    """Make ``load_backbone("tiny")`` work in this process, on one thread: its tensors are too small for two."""
    torch.set_num_threads(1)
    BACKBONES["tiny"] = BackboneKind("", "a tiny network for tests", load_tiny)
