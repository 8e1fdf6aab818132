from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from crosslens.backbones.base import hash_weights, load_weights
from crosslens.backbones.fingerprint import Fingerprint
from crosslens.backbones.resnet import ResNet, ResNetBackbone
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError, FingerprintError


def fingerprint(**changes: object) -> Fingerprint:
    given = {"model": "clip:/here/model", "weights": "ab" * 8, "preprocess": Preprocess(), "dim": 8, **changes}
    return Fingerprint.model_validate(given)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "siglip:/here/model"},
        {"model": "clip:/here/model?act=gelu"},
        {"weights": "cd" * 8},
        {"preprocess": Preprocess(decode="fast")},
        {"preprocess": Preprocess(interpolation="bicubic")},
        {"dim": 9},
    ],
)
def test_any_field_makes_another_fingerprint(changes: dict[str, object]) -> None:
    one, other = fingerprint(), fingerprint(**changes)
    assert one != other
    assert one.digest != other.digest
    with pytest.raises(FingerprintError, match=next(iter(changes))):
        one.require(other, "the index i")


def test_a_moved_model_is_the_same_model() -> None:
    one, moved = fingerprint(), fingerprint(model="clip:elsewhere/model")
    assert one == moved
    assert hash(one) == hash(moved)
    assert one.digest == moved.digest
    one.require(moved, "the index i")
    assert one != "clip:/here/model"


def test_require_says_what_differs_and_what_to_do() -> None:
    with pytest.raises(FingerprintError) as caught:
        fingerprint().require(fingerprint(dim=9, model="lite"), "the index i")
    for part in ("the index i", "dim: 8 here, 9 there", "--backbone clip:/here/model", "made with: lite"):
        assert part in str(caught.value)


def test_fingerprint_survives_json() -> None:
    assert Fingerprint.model_validate_json(fingerprint().model_dump_json()) == fingerprint()


def test_hash_sees_names_shapes_types_and_bytes() -> None:
    base = {"a": torch.arange(6.0), "b": torch.zeros(0)}
    others = [
        {"c": base["a"], "b": base["b"]},
        {**base, "a": base["a"].reshape(2, 3)},
        {**base, "a": base["a"].double()},
        {**base, "a": base["a"] + 1e-6},
    ]
    hashes = {hash_weights(state) for state in [base, *others]}
    assert len(hashes) == 5
    assert hash_weights(dict(reversed(base.items()))) == hash_weights(base)
    grid = torch.rand(2, 3, 4, 5)
    assert hash_weights({"w": grid.to(memory_format=torch.channels_last)}) == hash_weights({"w": grid})


def test_a_backbones_fingerprint_follows_preprocessing_and_tower() -> None:
    backbone = ResNetBackbone("moco-v2:x", ResNet((1, 1, 1, 1), width=2), 64, Preprocess(resize=8, crop=8))
    before = backbone.fingerprint
    assert before == backbone.fingerprint
    tower = copy.deepcopy(backbone.tower)
    with torch.no_grad():
        tower.conv1.weight += 1
    assert backbone.with_tower(tower).fingerprint.weights != before.weights
    assert backbone.fingerprint == before
    backbone.preprocess = Preprocess(resize=8, crop=8, decode="fast")
    assert backbone.fingerprint != before


def test_embed_images_wants_batches_of_rgb() -> None:
    backbone = ResNetBackbone("moco-v2:x", ResNet((1, 1, 1, 1), width=2), 64)
    assert backbone.embed_images(torch.rand(2, 3, 32, 32)).shape == (2, 64)
    for shape in ((3, 32, 32), (2, 1, 32, 32)):
        with pytest.raises(BackboneError, match=r"must be \(N, 3, H, W\)"):
            backbone.embed_images(torch.rand(shape))


def test_without_a_text_tower_the_error_names_backbones_that_have_one() -> None:
    backbone = ResNetBackbone("moco-v2:x", nn.Identity(), 3)
    assert not backbone.has_text
    for call in (lambda: backbone.embed_texts(["a"]), lambda: backbone.to_joint(torch.zeros(1, 3))):
        with pytest.raises(BackboneError, match="moco-v2:x has no text tower; use one that has: lite, clip:PATH"):
            call()


class TestLoadWeights:
    def test_every_fault_is_listed(self) -> None:
        module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        state = {
            "0.weight": torch.zeros(3, 2),
            "0.bias": torch.zeros(4),
            "1.bias": torch.zeros(1),
            "x": torch.ones(1),
        }
        before = copy.deepcopy(module.state_dict())
        with pytest.raises(BackboneError) as caught:
            load_weights(module, state, "w.pth")
        for part in (
            "w.pth",
            r"1 missing (1.weight)",
            "1 unexpected (x)",
            "0.bias: (4,) in the file, (3,) in the net",
        ):
            assert part in str(caught.value)
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())

    def test_long_lists_are_cut(self) -> None:
        with pytest.raises(BackboneError, match=r"20 missing \(.*, and 12 more\)"):
            load_weights(nn.ModuleList([nn.Linear(1, 1) for _ in range(10)]), {}, "w.pth")

    def test_ignored_names_and_batch_counters_do_not_count(self) -> None:
        norm = nn.BatchNorm2d(2)
        state = {key: value + 3 for key, value in norm.state_dict().items() if key != "num_batches_tracked"}
        load_weights(norm, {**state, "fc.weight": torch.zeros(1)}, "w.pth", ignore=("fc.",))
        assert norm.weight.tolist() == [4, 4]


def test_lite_was_the_photo_network_alone() -> None:
    assert fingerprint(dim=1280, model="lite").asked_for_as == "lite:photo"
    assert fingerprint(dim=1664, model="lite").asked_for_as == "lite"
    with pytest.raises(FingerprintError, match=r"the backbone it was made with: lite:photo$"):
        fingerprint(dim=1664, model="lite").require(fingerprint(dim=1280, model="lite"), "the features f")
