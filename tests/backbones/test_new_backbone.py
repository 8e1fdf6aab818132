"""A new backbone is one file and one line in ``BACKBONES``."""

import pytest
import torch
from torch import nn

import crosslens
from crosslens.backbones import BACKBONES, BackboneKind, describe_backbones, load_backbone
from crosslens.backbones.base import Backbone
from crosslens.encoder import Encoder
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError


class ColourTower(nn.Module):
    """Mean and spread of each channel: ``(N, 3, H, W)`` to ``(N, 6)``."""

    def forward(self, images):
        flat = images.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2)], dim=1)


class ColourBackbone(Backbone):
    def __init__(self, source):
        self.name = f"colour:{source}"
        self.dim = 6
        self.preprocess = Preprocess(resize=int(source), crop=int(source))
        self.tower = ColourTower().eval()


def test_a_line_makes_a_backbone(pictures, tmp_path, monkeypatch):
    with pytest.raises(BackboneError, match="there is no backbone 'colour:24'"):
        load_backbone("colour:24")
    monkeypatch.setitem(BACKBONES, "colour", BackboneKind("SIDE", "colours alone; images", ColourBackbone))
    assert describe_backbones().endswith("; colour:SIDE (colours alone; images)")
    assert load_backbone("colour:24").fingerprint != load_backbone("colour:16").fingerprint

    features = tmp_path / "features"
    report = crosslens.embed(pictures, out=features, backbone="colour:24")
    assert report.embedded == 96
    measured = crosslens.evaluate("colour:24", pictures, features=features)
    assert len(measured.directions) == 2

    Encoder(load_backbone("colour:24")).save(tmp_path / "encoder")
    again = crosslens.load_encoder(tmp_path / "encoder")
    assert again.fingerprint == Encoder(load_backbone("colour:24")).fingerprint
    assert again.encode_images(sorted(pictures.glob("photo/circle/*.png"))[:2]).shape == (2, 6)
