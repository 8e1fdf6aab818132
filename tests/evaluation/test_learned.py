"""Whose images are whose: a file is the same by where it lies, not by what it is called."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.evaluation.label_accuracy import LABELS
from crosslens.evaluation.learned import learned_images, own_images, unlearned_ids
from crosslens.support.errors import EvaluationError
from crosslens.training.run import Run
from testing.tiny_pictures import make_pictures

ORDER = ["sketch", "photo"]
HELD_OUT = "supervised: measured on the held-out images only"


@dataclass
class Folders:
    """A folder trained on, another of other pictures under the same names, and the run."""

    own: Path
    other: Path
    run: Path


@pytest.fixture
def folders(tiny_world, tmp_path):
    own, other = make_pictures(tmp_path / "own"), make_pictures(tmp_path / "other", seed=1)
    quick = {"epochs": 1, "head": [8, 4]}
    run = crosslens.fit("supervised", own, out=tmp_path / "run", backbone="tiny", domains=ORDER, settings=quick)
    return Folders(own, other, run.folder)


def queries(result):
    return [len(direction.query_ids) for direction in result.directions]


def test_another_folder_is_measured_whole(folders):
    result = crosslens.evaluate(folders.run, folders.other)
    assert queries(result) == [48, 48]
    assert result.marks == ("supervised: trained with the labels of other images",)
    both, _ = crosslens.compare(["tiny", folders.run], folders.other, domains=ORDER)
    assert [queries(found) for found in both] == [[48, 48], [48, 48]]
    made = crosslens.report(folders.run, folders.other, against=["frozen"], out=folders.run / "other.html")
    assert [queries(found) for found in made.evaluations.values()] == [[48, 48], [48, 48]]


def test_its_own_is_measured_as_far_as_it_was_held_out(folders):
    held_out = Run(folders.run).read_held_out()
    assert len(held_out) == 48
    own = crosslens.evaluate(folders.run)
    assert set(own.directions[0].query_ids) | set(own.directions[0].gallery_ids) == held_out
    assert HELD_OUT in own.marks
    both, _ = crosslens.compare(["tiny", folders.run])
    assert [queries(found) for found in both] == [[24, 24], [24, 24]]


def manifest(root, target, **changes):
    rows = [
        row | {k: change(n, row) for k, change in changes.items()}
        for n, row in enumerate(Catalog.open(root).table.to_pylist())
    ]
    Catalog.from_rows(rows, root).write(target)
    return target


def test_own_files_are_known_under_any_name(folders, tmp_path):
    (tmp_path / "linked").symlink_to(folders.own)
    each = tmp_path / "each"
    for file in sorted(folders.own.rglob("*.png")):
        target = each / file.relative_to(folders.own).with_stem(f"x{file.stem}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    renamed = manifest(folders.own, tmp_path / "renamed.csv", id=lambda n, row: str(n))
    domains = manifest(folders.own, tmp_path / "domains.csv", domain=lambda n, row: row["domain"].upper())
    for source in (tmp_path / "linked", each, renamed, os.path.relpath(folders.own)):
        result = crosslens.evaluate(folders.run, source)
        assert queries(result) == [24, 24], source
        assert HELD_OUT in result.marks
    assert queries(crosslens.evaluate(folders.run, domains, domains=["SKETCH", "PHOTO"])) == [24, 24]


def test_other_files_of_the_same_folder_and_ids_are_not_its_own(tiny_world, tmp_path):
    root = make_pictures(tmp_path / "pictures")
    everything = Catalog.open(root).table.to_pylist()
    for name, half in (("train", 0), ("test", 1)):
        rows = [row for row in everything if int(Path(row["path"]).stem) % 2 == half]
        Catalog.from_rows([row | {"id": str(n)} for n, row in enumerate(rows)], root).write(root / f"{name}.csv")
    quick = {"epochs": 1, "head": [8, 4]}
    run = crosslens.fit(
        "supervised", root / "train.csv", out=tmp_path / "run", backbone="tiny", domains=ORDER, settings=quick
    )
    assert queries(crosslens.evaluate(run.folder, root / "test.csv")) == [24, 24]
    assert queries(crosslens.evaluate(run.folder, root / "train.csv")) == [12, 12]
    # Among all images, those that training saw leave.
    assert queries(crosslens.evaluate(run.folder, root / "test.csv", split="all")) == [24, 24]
    (root / "test.csv").unlink()
    (root / "train.csv").rename(root / "moved.csv")
    # The list is gone, so ids are all there is to tell.
    assert queries(crosslens.evaluate(run.folder, root / "moved.csv")) == [12, 12]


def test_a_folder_that_moved_is_told_by_its_ids(folders, tmp_path):
    folders.own.rename(tmp_path / "moved")
    result = crosslens.evaluate(folders.run, tmp_path / "moved")
    assert queries(result) == [24, 24]
    assert HELD_OUT in result.marks


def test_other_images_are_measured_whole_even_when_the_own_are_gone(folders, tmp_path):
    folders.own.rename(tmp_path / "moved")
    for file in sorted(folders.other.rglob("*.png")):
        file.rename(file.with_stem(f"other{file.stem}"))
    assert queries(crosslens.evaluate(folders.run, folders.other)) == [48, 48]


def test_all_seen_is_an_error(folders):
    run = Run(folders.run)
    run.write_held_out([])
    with pytest.raises(EvaluationError, match="training saw the labels of all"):
        crosslens.evaluate(folders.run)


def test_pseudo_labels_are_judged_on_the_images_that_got_them(tiny_world, tmp_path):
    own, other = make_pictures(tmp_path / "own"), make_pictures(tmp_path / "other", seed=1)
    run = crosslens.fit("centred", own, out=tmp_path / "run", backbone="tiny", domains=ORDER)
    images = Catalog.open(own)
    table = {
        "id": images.ids,
        "label": images.labels,
        "confidence": [0.5] * len(images),
        "kept": [True] * len(images),
    }
    pa_parquet.write_table(pa.table(table), run.folder / LABELS)
    assert crosslens.evaluate(run.folder).extra["pseudo_labels"]["photo"]["all"] == 1
    assert "pseudo_labels" not in crosslens.evaluate(run.folder, other).extra
    renamed = manifest(own, tmp_path / "renamed.csv", id=lambda n, row: f"{n}")
    assert crosslens.evaluate(run.folder, renamed).extra["pseudo_labels"]["sketch"]["images"] == 48


def test_what_was_learned_from(folders, tmp_path):
    run = crosslens.fit(
        "centred", folders.own, out=tmp_path / "unseen", backbone="tiny", domains=ORDER, unseen="circle"
    )
    assert learned_images(run).classes == ["cross", "square", "triangle"]
    assert unlearned_ids(run, Catalog.open(folders.own)) is None
    assert len(own_images(run, Catalog.open(folders.own))) == 96
    assert len(own_images(run, Catalog.open(folders.other))) == 0
