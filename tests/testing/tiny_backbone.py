"""A tiny real backbone, so that whole stories run in seconds."""

import torch
from torch import nn

from crosslens.backbones import BACKBONES, BackboneKind
from crosslens.backbones.base import Backbone
from crosslens.images.preprocess import Preprocess

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


def register_tiny():
    """Make ``load_backbone("tiny")`` work in this process, on one thread: its tensors are too small for two."""
    torch.set_num_threads(1)
    BACKBONES["tiny"] = BackboneKind("", "a tiny network for tests", load_tiny)
