"""The column ``split``: what is learned from, what is measured, and what is said of it."""

from pathlib import Path

import pytest

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.data.splits import mixed_splits, select_splits, select_training
from crosslens.support.errors import CatalogError

ORDER = ["sketch", "photo"]


def catalog(*splits):
    rows = [{"path": f"photo/{n}.png", "domain": "photo", "split": split} for n, split in enumerate(splits)]
    return Catalog.from_rows(rows, Path("root"))


def splits_of(images):
    return [name or "" for name in images.column("split")]


@pytest.mark.parametrize(
    ("marked", "asked", "learned", "recorded", "said"),
    [
        (("train", "test", None), None, ["train"], ("train",), "train (1)"),
        (("training", "val"), None, ["training"], ("training",), "val (1)"),
        ((None, "test", None), None, ["", ""], ("none",), "test (1), none (2)"),
        ((None, None), None, ["", ""], (), ""),
        (("train", "train"), None, ["train"] * 2, ("train",), ""),
        (("train", "test"), "all", ["train", "test"], (), ""),
        (("train", "test", "val"), "test,val", ["test", "val"], ("test", "val"), ""),
        (("a", "b"), ["b"], ["b"], ("b",), ""),
    ],
)
def test_what_is_learned_from(marked, asked, learned, recorded, said):
    images, names, told = select_training(catalog(*marked), asked)
    assert (splits_of(images), names) == (learned, recorded)
    assert said in told
    assert bool(told) == bool(said)


def test_splits_that_tell_nothing_of_training_are_refused():
    with pytest.raises(CatalogError, match=r"splits a \(1\), test \(2\), and none is called train.*--split all"):
        select_training(catalog("test", "a", "test"), None)


def test_selecting():
    images = catalog("train", "test", None)
    assert splits_of(select_splits(images, None)) == splits_of(select_splits(images, "all")) == splits_of(images)
    assert splits_of(select_splits(images, "none, test")) == ["test", ""]
    with pytest.raises(CatalogError, match=r"split tset; .* here are: none, test, train; did you mean 'test'"):
        select_splits(images, "tset")
    with pytest.raises(CatalogError, match="empty name"):
        select_splits(images, "train,")
    assert mixed_splits(images).startswith("3 splits are mixed: test (1), train (1), none (1)")
    assert mixed_splits(catalog("train", "train")) == mixed_splits(catalog(None)) == ""


@pytest.fixture
def marked(pictures):
    """Of each class and look, pictures 0 to 7 for training and the others for the test."""
    rows = Catalog.open(pictures).table.to_pylist()
    rows = [row | {"split": "train" if int(Path(row["path"]).stem) < 8 else "test"} for row in rows]
    Catalog.from_rows(rows, pictures).write(pictures / "marked.csv")
    return pictures / "marked.csv"


def test_a_fit_sees_the_training_split_alone(marked, tmp_path, capsys):
    run = crosslens.fit("centred", marked, out=tmp_path / "run", backbone="tiny", domains=ORDER)
    assert run.config()["images"] == 64
    assert run.config()["split"] == ["train"]
    assert "learning from the split train alone, of test (32), train (64)" in " ".join(
        capsys.readouterr().err.split()
    )
    whole = crosslens.fit("centred", marked, out=tmp_path / "all", backbone="tiny", domains=ORDER, split="all")
    assert whole.config()["images"] == 96
    assert "split" not in whole.config()
    only = marked.parent / "only.csv"
    select_splits(Catalog.open(marked), "train").write(only)
    alone = crosslens.fit("centred", only, out=tmp_path / "only", backbone="tiny", domains=ORDER)
    first, second = (crosslens.load_encoder(r.folder) for r in (run, alone))
    assert all(first.domain_means[d].equal(second.domain_means[d]) for d in ORDER)


def test_an_evaluation_measures_the_split_asked_for_or_says_that_they_are_mixed(marked, tmp_path):
    run = crosslens.fit("centred", marked, out=tmp_path / "run", backbone="tiny", domains=ORDER)
    mixed = crosslens.evaluate(run.folder)
    assert len(mixed.directions[0].query_ids) == 48
    assert "2 splits are mixed: test (32), train (64); --split takes some of them" in mixed.to_json()["notes"]
    test = crosslens.evaluate(run.folder, split="test")
    assert len(test.directions[0].query_ids) == len(test.directions[0].gallery_ids) == 16
    assert not any("split" in note for note in test.to_json()["notes"])
    both, (found,) = crosslens.compare(["tiny", run.folder], marked, split="test", domains=ORDER)
    assert len(both[0].directions[0].query_ids) == 16
    assert found.difference == pytest.approx(test.metrics["map@all"] - both[0].metrics["map@all"])


def test_labels_of_the_training_split_are_not_measured_on(marked, tmp_path):
    """What ``supervised`` learned from leaves; all of the test split and what it held out stay."""
    quick = {"epochs": 1, "head": [8, 4]}
    run = crosslens.fit("supervised", marked, out=tmp_path / "run", backbone="tiny", domains=ORDER, settings=quick)
    test = crosslens.evaluate(run.folder, split="test")
    assert len(test.directions[0].query_ids) == 16
    mixed = crosslens.evaluate(run.folder)
    # Half of the training split was held out.
    assert len(mixed.directions[0].query_ids) == 16 + 16
    assert "supervised: measured on the held-out images only" in mixed.marks


def test_queries_are_not_indexed(pictures, tmp_path, capsys):
    from crosslens.search.index.index import Index

    rows = Catalog.open(pictures).table.to_pylist()
    rows = [row | {"role": "query" if row["domain"] == "sketch" else "gallery"} for row in rows]
    images = Catalog.from_rows(rows, pictures)
    index, _ = Index.build(images, crosslens.load_encoder("tiny"), tmp_path / "i", store="exact")
    assert index.stats()["domains"] == {"photo": 48}
    assert "48 image(s) with the role query are not indexed" in " ".join(capsys.readouterr().err.split())
    assert index.add(images).added == 0
    with pytest.raises(CatalogError, match="marks every image as a query"):
        Index.build(
            images.select(domains=["sketch"]), crosslens.load_encoder("tiny"), tmp_path / "j", store="exact"
        )
