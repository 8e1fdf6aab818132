"""A tiny backbone that also reads: a shape's name means what it looks like, as a photo or as a sketch."""

import hashlib
from functools import cache

import numpy as np
import torch
from torch.nn import functional as F

from crosslens.backbones import BACKBONES, BackboneKind
from crosslens.images.preprocess import Preprocess
from testing.tiny_backbone import SIDE, TinyBackbone
from testing.tiny_pictures import SHAPES, draw

CONTEXT = 120


class TalkerBackbone(TinyBackbone):
    """The joint space is the features' own, as CLIP's is; texts are cut at ``CONTEXT`` letters."""

    def __init__(self):
        super().__init__()
        self.name = "talker"
        self.joint_dim = self.dim

    def to_joint(self, features):
        return F.normalize(features.float(), dim=1)

    def embed_texts(self, texts):
        return torch.stack([self._read(text[:CONTEXT]) for text in texts]) if texts else torch.zeros(0, self.dim)

    def _read(self, text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        noise = torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)) / self.dim**0.5
        known = [shape for shape in SHAPES if shape in text]
        look = "sketch" if "drawing" in text or "sketch" in text else "photo"
        vector = sum((meanings()[look, shape] for shape in known), torch.zeros(self.dim))
        return F.normalize(vector + 0.5 * noise, dim=0)


@cache
def meanings():
    """Unit mean vector of each look and shape, less the mean of its look."""
    rng = np.random.default_rng(7)
    preprocess, tower = Preprocess(resize=SIDE, crop=SIDE), TinyBackbone().tower

    def features(shape, look):
        pixels = np.stack([preprocess.pixels(draw(shape, look, rng)) for _ in range(20)])
        with torch.inference_mode():
            return tower(torch.from_numpy(preprocess.normalise(pixels)))

    rows = {(look, shape): features(shape, look) for look in ("photo", "sketch") for shape in SHAPES}
    means = {look: torch.cat([rows[look, shape] for shape in SHAPES]).mean(0) for look in ("photo", "sketch")}
    found = {}
    for (look, shape), part in rows.items():
        found[look, shape] = F.normalize(F.normalize(part - means[look], dim=1).mean(0), dim=0).clone()
    return found


def register_talker():
    """Make ``load_backbone("talker")`` work in this process."""
    BACKBONES["talker"] = BackboneKind("", "a tiny network that reads, for tests", lambda source: TalkerBackbone())
