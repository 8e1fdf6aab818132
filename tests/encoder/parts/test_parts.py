"""What holds for every part, and that a new one is a class and a place in the list."""

from typing import Self

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crosslens.encoder import Encoder, encoder, header
from crosslens.encoder.header import Header
from crosslens.encoder.parts import PARTS, Centre, DomainMap, Heads, Joint, Looks, ProjectionHead, Whitened
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.nn.heads import Head
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.support.errors import BackboneError
from testing.reading_backbone import TalkerBackbone
from testing.tiny_backbone import TinyBackbone


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def means():
    return {"photo": torch.ones(64), "sketch": -torch.ones(64)}


def projection():
    return ProjectionHead(Projection(ProjectionShape(sizes=(64, 16))))


def test_default_settings_are_those_of_an_encoder_without_the_part():
    for kind in PARTS:
        assert kind.load(kind.Settings(), {}, TinyBackbone()) is None


def test_no_two_parts_claim_a_key():
    keys = [*Header.model_fields, *(key for kind in PARTS for key in kind.Settings.model_fields)]
    assert len(keys) == len(set(keys))


def test_parts_stand_in_the_order_that_pictures_pass_them():
    backbone = TalkerBackbone()
    parts = [Whitened(torch.eye(64), means(), 0.2), projection(), Centre(means()), Joint(backbone)]
    made = Encoder(backbone, [None, Looks({}), *parts])
    assert [type(part) for part in made.parts] == [Joint, Centre, ProjectionHead, Whitened]


def test_two_of_a_kind_are_refused():
    with pytest.raises(ValueError, match="at most one part of each kind"):
        Encoder(TinyBackbone(), [Centre(means()), Centre(means())])


def test_a_part_takes_the_place_of_its_kind_and_the_first_encoder_stays():
    first = Encoder(TinyBackbone(), [Centre(means())], method="ucdir", trained={"seed": 1})
    second = first.with_part(Centre({"photo": torch.zeros(64)}))
    assert (first.domains, second.domains) == (["photo", "sketch"], ["photo"])
    assert (second.method, second.trained) == ("ucdir", {"seed": 1})
    assert second.fingerprint != first.fingerprint
    assert first.with_part(Centre({})).parts == ()


@pytest.mark.parametrize(
    ("parts", "has_text"),
    [
        ([], False),
        ([Joint], True),
        ([Joint, lambda _: Centre(means())], True),
        ([Joint, lambda _: projection()], True),
        # Texts were not moved with the images, so they do not pass the projection with them.
        ([Joint, lambda _: Centre(means()), lambda _: projection()], False),
        ([lambda _: projection()], False),
        ([Joint, lambda _: Heads([Head((64, 64))])], False),
        ([lambda _: Heads([Head((64, 64))], text=True)], True),
        ([Joint, lambda _: DomainMap({"photo": torch.eye(64)})], True),
    ],
)
def test_does_text_still_work(parts, has_text):
    backbone = TalkerBackbone()
    made = Encoder(backbone, [part(backbone) for part in parts])
    assert made.has_text == has_text
    if has_text:
        assert made.encode_texts("a photo of a circle").shape == (1, made.dim)
    else:
        with pytest.raises(BackboneError, match="does not understand text"):
            made.encode_texts("a photo of a circle")


def test_domains_are_told_by_looks_before_all_else():
    looks = {"photo": torch.eye(64)[0], "sketch": torch.eye(64)[1]}
    rows = torch.randn(3, 64)
    centred = Encoder(TinyBackbone(), [Centre(means())])
    assert centred.domain_means.keys() == {"photo", "sketch"}
    told = centred.with_part(Looks(looks))
    assert torch.equal(told.domain_means["photo"], looks["photo"])
    assert torch.equal(told.domain_rows(rows), rows)
    assert told.fingerprint == centred.fingerprint
    talker = TalkerBackbone()
    joint = Encoder(talker, [Joint(talker), Centre(means())])
    assert torch.equal(joint.domain_rows(rows), F.normalize(rows, dim=1))


def test_a_whitened_part_alone_is_counted_in_the_length():
    made = Encoder(TinyBackbone(), [Whitened(torch.eye(64)[:, :5], means(), 0.2)])
    rows = made.encode_features(torch.randn(3, 64), "photo")
    assert rows.shape == (3, made.dim) == (3, 69)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


class KeptSettings(PartSettings):
    kept: int = 0


class Kept(Part[KeptSettings]):
    """Keeps the first numbers of each row."""

    Settings = KeptSettings

    def __init__(self, kept: int) -> None:
        self.kept = kept

    @classmethod
    def load(cls, settings, tensors, backbone) -> Self | None:
        return cls(settings.kept) if settings.kept else None

    @property
    def settings(self):
        return KeptSettings(kept=self.kept)

    def identity(self):
        return {"kept": torch.tensor([self.kept])}

    @classmethod
    def card(cls, settings):
        return {"numbers kept": str(settings.kept or "all")}

    def __call__(self, rows, names):
        return rows[:, : self.kept]

    def dim_after(self, dim):
        return self.kept


def test_a_new_part_is_one_class_and_one_line(tmp_path, monkeypatch):
    for module in (encoder, header):
        monkeypatch.setattr(module, "PARTS", (*PARTS, Kept))
    made = Encoder(TinyBackbone(), [Kept(3), Centre(means())])
    made.save(tmp_path / "e")
    assert "| numbers kept | 3 |" in (tmp_path / "e" / "README.md").read_text()
    again = Encoder.load(tmp_path / "e")
    rows = torch.randn(4, 64)
    assert again.fingerprint == made.fingerprint != made.with_part(Kept(4)).fingerprint
    expected = F.normalize((rows - means()["photo"])[:, :3], dim=1)
    assert np.allclose(again.encode_features(rows, "photo"), expected, atol=1e-6)
