"""The untrained features beside a head."""

import numpy as np
import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Heads, Untrained
from crosslens.encoder.untrained import centred_encoder
from testing.encoder_kinds import DOMAINS, Draw


def encoders(share, name="tiny"):
    """The head alone, the features alone, and both; with features of either domain."""
    draw, backbone = Draw(1), load_backbone(name)
    features = {domain: (draw(20, backbone.dim) + offset).numpy() for offset, domain in enumerate(DOMAINS)}
    head = Encoder(backbone, [Heads(draw.heads(backbone.dim, 8))])
    plain = centred_encoder(backbone, features)
    return features, head, plain, head.with_part(Untrained(backbone, plain.domain_means, share, head.dim))


def test_scores_are_the_weighted_sum_of_both(tiny_world):
    features, head, plain, both = encoders(0.3)
    assert both.dim == head.dim + plain.dim
    scores = {}
    for one in (head, plain, both):
        photo, sketch = (one.encode_features(features[domain], domain) for domain in DOMAINS)
        scores[one] = photo @ sketch.T
        assert np.allclose(np.linalg.norm(photo, axis=1), 1, atol=1e-6)
    assert np.allclose(scores[both], 0.7 * scores[head] + 0.3 * scores[plain], atol=1e-6)


def test_texts_find_what_they_find_without_a_head(tiny_world):
    assert not encoders(0.3)[3].has_text
    features, head, plain, both = encoders(0.3, "lite")
    assert not head.has_text
    assert both.has_text
    texts = ["a photo of a dog", "a guitar"]
    found = both.encode_texts(texts)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    scores = [one.encode_texts(texts) @ one.encode_features(features["photo"], "photo").T for one in (both, plain)]
    assert np.allclose(scores[0], 0.3**0.5 * scores[1], atol=1e-6)


def test_a_row_of_an_unknown_domain_loses_the_mean_of_both(tiny_world):
    features, _, plain, both = encoders(1.0)
    rows = torch.from_numpy(features["photo"])
    middle = torch.stack(list(plain.domain_means.values())).mean(0)
    expected = F.normalize(rows - middle, dim=1)
    assert np.allclose(both.encode_features(rows.numpy())[:, 8:], expected, atol=1e-6)


def test_it_is_saved_and_told_from_another_share(tiny_world, tmp_path):
    features, _, _, both = encoders(0.3)
    both.save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e")
    assert again.fingerprint == both.fingerprint
    found = [one.encode_features(features["sketch"], "sketch") for one in (again, both)]
    assert np.array_equal(*found)
    assert encoders(0.4)[3].fingerprint != both.fingerprint
