"""Encoders of every kind give the vectors, fingerprints and folders they have always given.

The golden values were made with the first code of format 1. Only a new kind of encoder needs new ones; this file,
run as a program, prints those of all kinds.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from crosslens.backbones.base import hash_weights
from crosslens.encoder import Encoder
from crosslens.encoder.header import from_json
from testing.encoder_kinds import CURVED, DOMAINS, KINDS, Draw
from testing.golden import read_golden
from testing.reading_backbone import register_talker
from testing.tiny_backbone import register_tiny

TEXTS = ["a photo of a circle", "a drawing of a cross"]


def described(encoder, folder):
    """All that is pinned of an encoder, without the folder's own place."""
    encoder.save(folder / "e")
    tensors = load_file(folder / "e" / "model.safetensors")
    backbone = encoder.backbone
    vectors = {}
    # The joint space of ``lite`` takes its text tower to make, which its own tests do.
    if not encoder.name.startswith(("lite:joint", "lite:blend:joint")):
        for domain in (*DOMAINS, None):
            if not encoder.embeds_by_domain:
                rows = encoder.encode_features(Draw(99)(2, backbone.dim).abs(), domain)
            else:
                rows = encoder.encode_images(Draw(98)(2, 3, 16, 16), domain)
            vectors[str(domain)] = rows
        if encoder.has_text:
            vectors["texts"] = encoder.encode_texts(["a cat", "a dog"] if encoder.embeds_by_domain else TEXTS)
    return {
        "name": encoder.name.replace(str(folder), "FOLDER"),
        "fingerprint": encoder.fingerprint.digest,
        "dim": encoder.dim,
        "domains": encoder.domains,
        "has_text": encoder.has_text,
        "similarity": encoder.similarity.model_dump(mode="json"),
        "config": json.loads((folder / "e" / "config.json").read_text().replace(str(folder), "FOLDER")),
        "card": (folder / "e" / "README.md").read_text().replace(str(folder), "FOLDER").splitlines(),
        "tensors": {name: list(tensor.shape) for name, tensor in sorted(tensors.items())},
        "tensors_digest": hash_weights(tensors),
        # The first numbers of long vectors are enough.
        "vectors": {name: np.round(rows[:, :24].astype(float), 7).tolist() for name, rows in vectors.items()},
    }


def comparable(card):
    """A model card whose table may have its rows in another order, and whose example may name another domain."""
    return sorted(line for line in card if not line.startswith("vectors = "))


@pytest.fixture(autouse=True)
def _small(tiny_world):
    register_talker()


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_what_it_was(kind, tmp_path):
    encoder, expected = KINDS[kind](tmp_path), read_golden("encoders")[kind]
    found = described(encoder, tmp_path)
    vectors, known = found.pop("vectors"), expected.pop("vectors")
    card = found.pop("card")
    assert comparable(card) == comparable(expected.pop("card"))
    # Keys of parts that an encoder lacks were written once; they say no more than their absence.
    assert from_json(found.pop("config")) == from_json(expected.pop("config"))
    assert found == expected
    assert vectors.keys() == known.keys()
    for name, rows in known.items():
        assert np.allclose(vectors[name], rows, atol=1e-3 if kind in CURVED else 1e-5), name
    again = described(Encoder.load(tmp_path / "e"), tmp_path)
    again.pop("config")
    assert again == found | {"vectors": vectors, "card": card}


if __name__ == "__main__":
    register_tiny()
    register_talker()
    pinned = {}
    for name, make in KINDS.items():
        with tempfile.TemporaryDirectory() as place:
            pinned[name] = described(make(Path(place)), Path(place))
    print(json.dumps(pinned, indent=1))
