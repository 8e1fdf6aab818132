"""An index of tiny pictures, and encoders that treat domains apart."""

import pytest
import torch

from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Prompts
from crosslens.features.load import features_of
from crosslens.nn.prompts import PromptedTower, PromptShape
from crosslens.search.index.index import Index
from testing.published_models import save_clip
from testing.tiny_backbone import TinyBackbone


@pytest.fixture
def index(pictures, tmp_path):
    """The 96 tiny pictures, as the bare tiny network sees them."""
    return Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")[0]


@pytest.fixture
def centred(pictures):
    """An encoder that takes each domain's mean away."""
    backbone = TinyBackbone()
    found = features_of(Catalog.open(pictures), backbone)
    means = {domain: torch.from_numpy(found.of_domain(domain).centre).mean(0) for domain in found.catalog.domains}
    return Encoder(backbone, [Centre(means)], method="centred")


@pytest.fixture
def prompted(tmp_path, tiny_world):
    """An encoder whose prompts change what the tower sees, differently for each domain."""
    save_clip(tmp_path / "clip")
    backbone = load_backbone(f"clip:{tmp_path / 'clip'}")
    tower = PromptedTower(backbone.tower, PromptShape(domains=("photo", "sketch")))
    with torch.no_grad():
        for number, own in enumerate(tower.own):
            own.copy_(3 * torch.randn(own.shape, generator=torch.Generator().manual_seed(number)))
    return Encoder(backbone, [Prompts(tower)], method="clair")
