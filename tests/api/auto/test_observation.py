"""What is seen of a collection without its labels."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crosslens.api.auto import observation
from crosslens.api.auto.observation import (
    idle_names,
    observe,
    sampled_rows,
    share_of_copies,
    share_of_pairs,
    shared_structure,
)
from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.features.load import Features
from crosslens.support.errors import CatalogError, ConfigError, LabelsHiddenError


@pytest.fixture
def tiny(tiny_world):
    return load_backbone("tiny")


def features(rows, domain="a"):
    catalog = Catalog.from_rows([{"path": f"{domain}/{n}.png", "domain": domain} for n in range(len(rows))], None)
    return Features(catalog, np.asarray(rows, np.float16)[:, None], None)


def blobs(centres, count, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([centre + 0.1 * rng.normal(size=(count, len(centre))) for centre in centres])


def test_facts_of_two_looks(tiny, pictures):
    shutil.copyfile(pictures / "photo/circle/00.png", pictures / "sketch/circle/copy.png")
    facts = observe(Catalog.open(pictures), ("sketch", "photo"), tiny, names=("circle", "cross"), goal="kind")
    assert dict(facts.pictures) == {"sketch": 49, "photo": 48}
    assert (facts.names, facts.reads_words, facts.idle_names, facts.goal) == (2, False, (), "kind")
    assert facts.labelled == 1
    assert facts.copies == pytest.approx(1 / 48)
    assert len(facts.shared) == 2
    assert all(0 <= share <= 1 for share in facts.shared)


def test_whether_there_are_labels_is_all_that_is_asked_of_them(tiny, pictures, monkeypatch):
    labelled = Catalog.open(pictures)
    asked = observe(labelled, ("sketch", "photo"), tiny)
    hidden = observe(labelled.hide_labels(), ("sketch", "photo"), tiny)
    assert hidden.labelled == 0
    assert asked.to_json() | {"labelled": 0.0} == hidden.to_json()


def test_labels_are_hidden_from_whatever_looks_at_pictures(tiny, pictures, monkeypatch):
    seen = []
    embed = observation.features_of
    monkeypatch.setattr(
        observation, "features_of", lambda images, *a, **k: seen.append(images) or embed(images, *a, **k)
    )
    observe(Catalog.open(pictures), ("sketch", "photo"), tiny)
    with pytest.raises(LabelsHiddenError):
        seen[0].column("label")


def test_no_picture_at_all(tiny):
    facts = observe(Catalog.from_rows([], None), (), tiny, names=("a", "b", "c"))
    assert (dict(facts.pictures), facts.names) == ({}, 3)


@pytest.mark.parametrize(("left", "said"), [(0, "no picture"), (1, "one picture")])
def test_too_few_pictures_of_a_domain(tiny, pictures, left, said):
    catalog = Catalog.open(pictures)
    sketches = np.array(catalog.column("domain")) == "sketch"
    kept = catalog.where(~sketches | (np.cumsum(sketches) <= left))
    with pytest.raises(CatalogError, match=f"'sketch' has {said} that can be read.*--domains"):
        observe(kept, ("sketch", "photo"), tiny)


def test_pictures_that_cannot_be_read_do_not_count(tiny, pictures):
    kept = pictures / "sketch" / "circle" / "00.png"
    for file in sorted((pictures / "sketch").rglob("*.png")):
        if file != kept:
            file.write_bytes(b"no picture")
    with pytest.raises(CatalogError, match="'sketch' has one picture that can be read"):
        observe(Catalog.open(pictures), ("sketch", "photo"), tiny)


def test_copies_are_counted_of_the_smallest_domain():
    rows = np.random.default_rng(0).normal(size=(10, 4))
    sides = {"a": features(rows), "b": features(rows[:4], "b"), "c": features(rows + 1, "c")}
    assert share_of_copies(sides) == 1
    assert share_of_copies({"a": sides["a"], "c": sides["c"]}) == 0
    assert share_of_copies({"a": sides["a"]}) == 0


def rows(centres, count, seed=0):
    return sampled_rows(features(blobs(centres, count, seed)))


def test_classes_of_one_side_alone_show_in_the_shared_structure():
    centres = 4 * np.eye(8)
    both = shared_structure(rows(centres, 20), rows(centres, 20, seed=1))
    half = shared_structure(rows(centres[:4], 20), rows(centres, 20, seed=1))
    assert min(both) > 0.8
    assert half[1] < 0.7
    assert shared_structure(rows(centres, 1), rows(centres, 20)) == ()


def test_things_pair_off_and_kinds_do_not():
    things, kinds = 4 * np.random.default_rng(0).normal(size=(80, 8)), 4 * np.eye(8)
    assert share_of_pairs(rows(things, 1), rows(things, 5, seed=1)) > 0.95
    assert share_of_pairs(rows(kinds, 10), rows(kinds, 10, seed=1)) < 0.7
    # Whichever comes first, it is the smaller side's share.
    assert share_of_pairs(rows(things, 5, seed=1), rows(things, 1)) > 0.95


class Words:
    """A text tower that reads ``up``, ``right`` and ``left`` as directions of the plane."""

    name, has_text, joint_dim = "words", True, 2

    def to_joint(self, rows):
        return F.normalize(rows, dim=1)


def test_names_of_no_picture(monkeypatch):
    directions = {"up": (0.0, 1.0), "right": (1.0, 0.0), "left": (-1.0, 0.0)}
    monkeypatch.setattr(
        observation, "class_texts", lambda _, names, look: torch.tensor([directions[name] for name in names])
    )
    sides = {"a": features([[0.1, 1], [0.2, 1]]), "b": features([[1, 0.1]], "b")}
    assert idle_names(Words(), sides, ("up", "right", "left")) == ("left",)
    with pytest.raises(ConfigError, match=r"any of the 2 class names but 'up'.*leave --classes out"):
        idle_names(Words(), {"a": sides["a"]}, ("up", "left"))
