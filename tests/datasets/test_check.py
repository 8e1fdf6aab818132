import json
import os
from dataclasses import replace

import pytest

from crosslens.data.catalog import Catalog
from crosslens.datasets import BENCHMARKS
from crosslens.datasets.benchmark import DomainCount, KnownCount
from crosslens.datasets.check import check
from crosslens.support.errors import CatalogError, LabelsHiddenError

PACS = BENCHMARKS["pacs"]


def kinds(report, severity=None):
    return [problem.kind for problem in report.problems if severity in (None, problem.severity)]


def messages(report, kind):
    return [problem.message for problem in report.problems if problem.kind == kind]


def small_pacs(counts):
    """A benchmark of two domains and two classes."""
    return replace(PACS, domains=tuple(counts), classes=("dog", "horse"), counts=counts, reader=Catalog.open)


EXPECTED = {"photo": DomainCount(2, classes={"dog": 1, "horse": 1}), "sketch": DomainCount(1)}


def test_nothing_wrong(tree):
    root = tree("photo/cat/1.jpg", "photo/dog/1.png", "sketch/cat/1.webp", "sketch/dog/1.bmp")
    report = check(root, decode=True, hash=True)
    assert report.ok
    assert report.problems == ()
    assert report.images == 4
    assert report.counts == {"photo": {"cat": 1, "dog": 1}, "sketch": {"cat": 1, "dog": 1}}


def test_damaged_files(tree):
    root = tree("photo/cat/good.jpg", "photo/cat/truncated.jpg", texts={"photo/cat/text.jpg": "I am no picture"})
    folder = root / "photo" / "cat"
    (folder / "truncated.jpg").write_bytes((folder / "truncated.jpg").read_bytes()[:400])
    (folder / "empty.jpg").touch()
    (folder / "gone.jpg").touch()
    catalog = Catalog.open(root)
    (folder / "gone.jpg").unlink()
    assert kinds(check(catalog)) == ["empty", "missing"]
    report = check(catalog, decode=True)
    assert not report.ok
    found = {problem.path: problem.kind for problem in report.problems}
    assert found == {
        "photo/cat/empty.jpg": "empty",
        "photo/cat/gone.jpg": "missing",
        "photo/cat/text.jpg": "undecodable",
        "photo/cat/truncated.jpg": "undecodable",
    }


def test_files_that_cannot_be_opened(tree, monkeypatch):
    root = tree("photo/cat/1.jpg", "photo/cat/2.jpg")
    catalog = Catalog.open(root)
    (root / "photo" / "cat" / "2.jpg").unlink()
    os.mkfifo(root / "photo" / "cat" / "2.jpg")
    monkeypatch.setattr(
        "pathlib.Path.read_bytes", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    report = check(catalog, decode=True)
    assert messages(report, "unreadable") == [
        "photo/cat/1.jpg cannot be read: Input/output error",
        "photo/cat/2.jpg is no regular file",
    ]


def test_duplicates(tree):
    root = tree("photo/cat/1.jpg", "photo/cat/2.jpg", "photo/dog/1.jpg", "sketch/cat/1.jpg", "sketch/dog/9.png")
    one = (root / "photo" / "cat" / "1.jpg").read_bytes()
    for copy, kind in (
        ("photo/cat/2.jpg", "duplicate"),
        ("sketch/cat/1.jpg", "duplicate-domain"),
        ("photo/dog/1.jpg", "duplicate-label"),
    ):
        (root / copy).write_bytes(one)
        report = check(root, hash=True)
        assert kinds(report) == [kind]
        assert report.ok
        assert copy in report.problems[0].message
    assert kinds(check(root)) == []


def test_classes_across_domains(tree):
    root = tree(
        "photo/cat/1.jpg", "photo/hot-air_balloon/1.jpg", "sketch/cat/1.png", "sketch/hot_air_balloon/1.png"
    )
    report = check(root)
    assert messages(report, "class-in-one-domain") == [
        "the class 'hot-air_balloon' occurs in photo only; sketch have no image of it",
        "the class 'hot_air_balloon' occurs in sketch only; photo have no image of it",
    ]
    assert messages(report, "class-spelling") == [
        "'hot-air_balloon' and 'hot_air_balloon' look like one class in two spellings"
    ]


def test_labels_are_compared_only_where_there_are_some(tree):
    assert check(tree("photo/1.jpg", "sketch/cat/1.png", root="half")).problems == ()
    assert check(tree("photo/cat/1.jpg", root="one domain")).problems == ()
    report = check(tree("photo/1.jpg", "photo/cat/1.jpg"))
    assert messages(report, "unlabelled") == ["photo: 1 image(s) have no class"]


def test_folders_that_are_no_looks_are_told_in_one_sentence(tree):
    """A library by year has a "class" for each event, none of them in two years."""
    report = check(tree("2019/summer/1.jpg", "2019/garden/1.jpg", "2020/xmas/1.jpg", "2021/1.jpg"))
    assert kinds(report) == ["no-common-class"]
    assert "crosslens open" in report.problems[0].message


def test_stray_files_are_reported(tree):
    report = check(tree("photo/cat/1.jpg", texts={"photo/cat/Thumbs.db": ""}))
    assert kinds(report, "warning") == ["note"]
    assert "Thumbs.db" in report.problems[0].message


def test_counts_against_a_benchmark(tree):
    root = tree("photo/dog/1.jpg", "photo/horse/1.jpg", "sketch/dog/1.png")
    report = check(root, small_pacs(EXPECTED))
    assert kinds(report) == ["class-missing", "class-in-one-domain"]
    assert messages(report, "class-missing") == ["sketch: no image of the class horse"]
    more = tree("photo/dog/2.jpg", "photo/unicorn/1.jpg")
    report = check(more, small_pacs(EXPECTED))
    assert messages(report, "count") == [
        "photo: found 4 images, expected 2",
        "photo, class dog: found 2 images, expected 1",
    ]
    assert messages(report, "class-unknown") == ["photo: 1 image(s) of 'unicorn', which is no class of PACS"]


def test_missing_and_unknown_domains(tree):
    catalog = Catalog.open(tree("photo/dog/1.jpg", "photo/horse/1.jpg", "clipart/dog/1.jpg"))
    report = check(catalog, small_pacs(EXPECTED))
    assert messages(report, "domain-missing") == ["the domain sketch is missing; expected 1 images"]
    assert messages(report, "domain-unknown") == ["PACS has no domain 'clipart'; it has photo, sketch"]


def test_unverified_and_known_totals(tree):
    root = tree("photo/dog/1.jpg", "photo/horse/1.jpg")

    def total(**settings):
        return check(root, small_pacs({"photo": DomainCount(9, **settings)})).problems[0]

    assert total(verified=False).severity == "info"
    assert "widely quoted, unverified" in total(verified=False).message
    assert total(other=(KnownCount(2, "the union of the lists", accepted=True),)).severity == "info"
    original = total(other=(KnownCount(2, "the original release"),))
    assert original.severity == "error"
    assert original.message == "photo: found 2 images, expected 9; 2 is the original release"


def test_split_sizes_are_compared(tree):
    root = tree("sketch/bat/1.png", "extended_photo/bat/1.jpg")
    report = check(root, "sketchy")
    assert "split split2: 1 images of photo as gallery, published lists have 10453" in messages(report, "split")
    assert "split split1: 0 images of sketch as queries, published lists have 15229" in messages(report, "split")


def test_progress_and_json(tree):
    root = tree(*(f"photo/cat/{number}.jpg" for number in range(70)), texts={"photo/dog/1.jpg": ""})
    seen = []
    report = check(root, decode=True, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(65, 71), (71, 71)]
    seen.clear()
    check(root, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(71, 71)]
    value = json.loads(json.dumps(report.to_json()))
    assert value["ok"] is False
    assert value["problems_by_kind"] == {"empty": 1}
    assert value["problems"][0]["path"] == "photo/dog/1.jpg"
    assert value["counts"] == {"photo": {"cat": 70, "dog": 1}}


def test_what_cannot_be_checked(tree, tmp_path):
    with pytest.raises(CatalogError, match="does not exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(CatalogError, match="no benchmark 'cifar'"):
        check(tmp_path, "cifar")
    with pytest.raises(LabelsHiddenError):
        check(Catalog.open(tree("photo/cat/1.jpg")).hide_labels())
    assert check(tree("photo/cat/1.jpg") / "photo" / "cat" / "1.jpg").ok
