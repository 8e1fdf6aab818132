"""Parts of an embedding job: together they are what one process gives; what is not whole is never taken."""

import json
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_catalog
from crosslens.features.parts import Part, embed_part, finished_parts, join_parts
from crosslens.features.store import FeatureStore
from crosslens.support.errors import ConfigError, FeatureError, FingerprintError
from testing.tiny_backbone import TinyBackbone


@pytest.fixture
def catalog(pictures):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"no picture")
    return Catalog.open(pictures)


def embed_parts(catalog, folder, of, **options):
    for number in range(1, of + 1):
        embed_part(catalog, TinyBackbone(), folder, Part(number=number, of=of), **options)


def same(one, other, catalog):
    """Whether two feature folders say the same of a catalog, to the last bit."""
    first, second = FeatureStore.open(one), FeatureStore.open(other)
    assert first.config == second.config
    assert len(first) == len(second)
    assert first.skipped == second.skipped
    kept = [image for image in catalog.ids if image in first]
    assert [first.stamp(image) for image in kept] == [second.stamp(image) for image in kept]
    return np.array_equal(first.gather(kept), second.gather(kept))


@pytest.mark.parametrize("of", [1, 3, 100])
def test_parts_together_are_what_one_process_gives(catalog, tmp_path, of):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one", views=1)
    embed_parts(catalog, tmp_path / "parts", of, views=1)
    joined = join_parts(tmp_path / "parts")
    assert (joined.parts, joined.images, len(joined.skipped)) == (of, 95, 1)
    assert same(tmp_path / "one", tmp_path / "parts", catalog)
    marks = [json.loads(mark.read_text()) for mark in sorted((tmp_path / "parts" / "shards").glob("*.json"))]
    ids = [image for mark in marks for image in mark["ids"]]
    assert ids == [image for image in catalog.ids if image != "photo/circle/00.png"]
    assert not (tmp_path / "parts" / "parts").exists()
    # The folder is an ordinary one now.
    assert embed_catalog(catalog, TinyBackbone(), tmp_path / "parts", views=1, retry=False).embedded == 0


@given(st.integers(0, 60), st.integers(1, 70))
def test_every_image_is_in_one_part_and_parts_are_equal(count, of):
    rows = [{"id": f"{(7 * number) % 61:02d}", "path": f"{number}.png", "domain": "d"} for number in range(count)]
    catalog = Catalog.from_rows(rows, ".")
    parts = [[catalog.ids[row] for row in Part(number=number, of=of).rows(catalog)] for number in range(1, of + 1)]
    assert [image for part in parts for image in part] == sorted(catalog.ids)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_order_of_the_listing_does_not_matter(catalog, tmp_path):
    shuffled = catalog.take(np.random.default_rng(0).permutation(len(catalog)).tolist())
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one")
    embed_part(catalog, TinyBackbone(), tmp_path / "parts", Part(number=1, of=2))
    embed_part(shuffled, TinyBackbone(), tmp_path / "parts", Part(number=2, of=2))
    join_parts(tmp_path / "parts")
    assert same(tmp_path / "one", tmp_path / "parts", catalog)


def test_parts_of_another_listing_number_or_backbone_are_refused(catalog, tmp_path):
    embed_part(catalog, TinyBackbone(), tmp_path / "f", Part(number=1, of=3))
    for other, part, words in (
        (catalog.take(range(90)), Part(number=2, of=3), r"another listing \(96 images; there are 90 now\)"),
        (catalog.with_prefix("x"), Part(number=2, of=3), "with other ids or paths"),
        (catalog, Part(number=2, of=4), "3 parts, not 4"),
    ):
        with pytest.raises(FeatureError, match=words):
            embed_part(other, TinyBackbone(), tmp_path / "f", part)
    with pytest.raises(FingerprintError):
        embed_part(catalog, TinyBackbone(seed=1), tmp_path / "f", Part(number=2, of=3))
    assert finished_parts(tmp_path / "f") == (1, 3)


def test_a_join_names_what_is_missing_and_takes_nothing_unfinished(catalog, tmp_path, monkeypatch):
    folder = tmp_path / "f"
    embed_part(catalog, TinyBackbone(), folder, Part(number=2, of=4))
    shards = 0
    original = FeatureStore.add_shard

    def killed(self, *arguments, **options):
        nonlocal shards
        shards += 1
        if shards == 2:
            raise KeyboardInterrupt
        original(self, *arguments, **options)

    monkeypatch.setattr(FeatureStore, "add_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        embed_part(catalog, TinyBackbone(), folder, Part(number=3, of=4), shard_size=8, workers=1)
    monkeypatch.undo()
    assert list((folder / "parts" / "3-of-4" / "shards").glob("*.json"))
    with pytest.raises(FeatureError, match=r"3 of the 4 parts .* 1, 3, 4; .*--part 1/4"):
        join_parts(folder)
    # Nor does anything else take a folder of parts for a whole one.
    with pytest.raises(FeatureError, match="embed --join"):
        embed_catalog(catalog, TinyBackbone(), folder)
    embed_parts(catalog, folder, 4)
    assert finished_parts(folder) == (4, 4)
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one")
    join_parts(folder)
    assert same(tmp_path / "one", folder, catalog)


def test_a_join_that_was_killed_goes_on(catalog, tmp_path, monkeypatch):
    embed_parts(catalog, tmp_path / "f", 3)
    original, written = FeatureStore.add_shard, []

    def killed(self, *arguments, **options):
        if written:
            raise KeyboardInterrupt
        written.append(original(self, *arguments, **options))

    monkeypatch.setattr(FeatureStore, "add_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        join_parts(tmp_path / "f")
    monkeypatch.undo()
    assert join_parts(tmp_path / "f").images == 95
    marks = [json.loads(mark.read_text()) for mark in (tmp_path / "f" / "shards").glob("*.json")]
    ids = [image for mark in marks for image in mark["ids"]]
    assert len(ids) == len(set(ids)) == 95


def test_a_damaged_part_is_named_and_nothing_is_joined(catalog, tmp_path):
    embed_parts(catalog, tmp_path / "f", 2)
    next((tmp_path / "f" / "parts" / "2-of-2" / "shards").glob("*.safetensors")).write_bytes(b"half")
    with pytest.raises(FeatureError, match=r"2-of-2.* is damaged"):
        join_parts(tmp_path / "f")
    assert not list((tmp_path / "f").glob("shards/*"))
    embed_part(catalog, TinyBackbone(), tmp_path / "f", Part(number=2, of=2))
    assert join_parts(tmp_path / "f").images == 95


def test_two_processes_at_one_part_or_at_a_join_are_refused(catalog, tmp_path):
    embed_parts(catalog, tmp_path / "f", 2)
    place = tmp_path / "f" / "parts" / "1-of-2"
    next((place / "shards").glob("*.json")).unlink()
    with FileLock(place / ".lock"):
        with pytest.raises(FeatureError, match="another process is writing"):
            embed_part(catalog, TinyBackbone(), tmp_path / "f", Part(number=1, of=2))
        with pytest.raises(FeatureError, match="1-of-2; join when it is done"):
            join_parts(tmp_path / "f")


def test_what_the_folder_has_is_not_embedded_again(catalog, tmp_path):
    embed_catalog(catalog.take(range(40)), TinyBackbone(), tmp_path / "f")
    reports = [embed_part(catalog, TinyBackbone(), tmp_path / "f", Part(number=n, of=2)) for n in (1, 2)]
    assert sum(report.embedded for report in reports) == 96 - 40
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one")
    join_parts(tmp_path / "f")
    assert same(tmp_path / "one", tmp_path / "f", catalog)


def test_a_folder_without_parts_is_refused(tmp_path):
    with pytest.raises(FeatureError, match="holds no parts"):
        join_parts(tmp_path)


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "1/0", "-1/4", ""])
def test_a_part_that_there_is_none_of_is_refused(text):
    with pytest.raises(ConfigError, match="1/16"):
        Part.parse(text)


@pytest.mark.slow
def test_processes_that_begin_at_once_cut_one_listing(catalog, pictures, tmp_path):
    code = (
        "from testing.tiny_backbone import register_tiny; register_tiny();"
        "import sys; from crosslens.cli import main;"
        f"sys.argv = ['crosslens', 'embed', {str(pictures)!r}, '--out', {str(tmp_path / 'f')!r},"
        " '-b', 'tiny', '-q', '--part', sys.argv[1]]; main()"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, f"{number}/4"]) for number in range(1, 5)]
    assert [process.wait(timeout=300) for process in running] == [0] * 4
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one")
    join_parts(tmp_path / "f")
    assert same(tmp_path / "one", tmp_path / "f", catalog)
