"""Encoders without training."""

import numpy as np
import pytest

from crosslens.encoder.untrained import centred_encoder, frozen_encoder
from crosslens.support.errors import BackboneError
from testing.reading_backbone import TalkerBackbone
from testing.tiny_backbone import TinyBackbone


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("joint", [False, True])
def test_each_domain_loses_its_mean(joint):
    rng = np.random.default_rng(0)
    features = {look: rng.normal(size=(6, 64)).astype(np.float32) for look in ("photo", "sketch")}
    encoder = centred_encoder(TalkerBackbone(), features, joint=joint)
    assert encoder.name == ("talker:joint+centred" if joint else "talker+centred")
    rows = unit(features["sketch"]) if joint else features["sketch"]
    assert np.allclose(encoder.encode_features(features["sketch"], "sketch"), unit(rows - rows.mean(0)), atol=1e-6)
    plain = frozen_encoder(TalkerBackbone(), joint=joint)
    assert np.allclose(plain.encode_features(features["photo"]), unit(features["photo"]), atol=1e-6)
    assert plain.method == "frozen"


def test_a_backbone_without_text_has_no_joint_space():
    with pytest.raises(BackboneError, match="no space shared with text"):
        frozen_encoder(TinyBackbone(), joint=True)
