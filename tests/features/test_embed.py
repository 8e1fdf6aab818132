"""The embedding job on real small pictures: completeness, resume, retries, damage, bounded work in flight."""

import json
import os
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from crosslens.backbones.graphs import OnnxEngine
from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_catalog
from crosslens.features.load import features_of
from crosslens.features.store import FeatureStore
from crosslens.features.work import view_generator
from crosslens.images.augment import Augmentation
from crosslens.support.errors import CrosslensError, FeatureError, FingerprintError, NothingEmbeddedError
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures


@pytest.fixture
def catalog(pictures):
    return Catalog.open(pictures)


def direct(backbone, catalog):
    images = torch.from_numpy(backbone.preprocess(catalog.paths))
    return backbone.embed_images(images).numpy()


def test_every_image_gets_the_features_of_the_plain_network(catalog, tmp_path):
    backbone = TinyBackbone()
    report = embed_catalog(catalog, backbone, tmp_path / "f", shard_size=20)
    assert (report.embedded, report.reused, report.skipped) == (96, 0, [])
    assert report.rates["total"] > 0
    assert set(report.stages) == {"read", "decode", "augment", "infer", "write"}
    store = FeatureStore.open(tmp_path / "f")
    values = store.gather(catalog.ids)
    assert values.shape == (96, 1, 64)
    assert values.dtype == np.float16
    assert np.allclose(values[:, 0], direct(backbone, catalog), rtol=1e-3, atol=2e-3)
    assert len(list((tmp_path / "f" / "shards").glob("*.json"))) >= 4


def test_order_of_ids_is_the_order_of_rows(catalog, tmp_path):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", shard_size=10)
    store = FeatureStore.open(tmp_path / "f")
    ids = catalog.ids[::-3]
    assert np.array_equal(store.gather(ids), store.gather(catalog.ids)[::-3])


def test_views_depend_on_seed_image_and_number_alone(catalog, tmp_path):
    backbone = TinyBackbone()
    for name, workers in (("a", 1), ("b", 3)):
        embed_catalog(catalog, backbone, tmp_path / name, views=2, workers=workers, shard_size=17)
    first, second = (FeatureStore.open(tmp_path / name).gather(catalog.ids) for name in "ab")
    assert first.shape == (96, 3, 64)
    assert np.allclose(first, second, atol=2e-3)
    row = catalog.ids.index("photo/cross/03.png")
    image = backbone.preprocess.load(catalog.paths[row])
    drawn = Augmentation().view(image, 32, view_generator(0, "photo/cross/03.png", 1))
    pixels = backbone.preprocess.normalise(np.asarray(drawn, np.uint8)[None])
    expected = backbone.embed_images(torch.from_numpy(pixels)).numpy()[0]
    assert np.allclose(first[row, 2], expected, atol=2e-3)
    assert not np.allclose(first[:, 1], first[:, 2], atol=1e-2)


def test_running_again_embeds_nothing_and_changed_images_again(catalog, tmp_path, pictures):
    backbone = TinyBackbone()
    embed_catalog(catalog, backbone, tmp_path / "f")
    assert embed_catalog(catalog, backbone, tmp_path / "f").embedded == 0
    changed = pictures / "photo" / "circle" / "00.png"
    changed.write_bytes((pictures / "sketch" / "cross" / "05.png").read_bytes())
    report = embed_catalog(catalog, backbone, tmp_path / "f")
    assert (report.embedded, report.reused) == (1, 95)
    store = FeatureStore.open(tmp_path / "f")
    pair = store.gather(["photo/circle/00.png", "sketch/cross/05.png"])
    assert np.allclose(pair[0], pair[1], atol=2e-3)


def test_new_images_are_added(catalog, tmp_path, pictures):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    make_pictures(pictures, count=13)
    grown = Catalog.open(pictures)
    report = embed_catalog(grown, TinyBackbone(), tmp_path / "f")
    assert report.embedded >= 8
    assert len(FeatureStore.open(tmp_path / "f")) == 104


def test_an_interrupt_keeps_what_is_finished(catalog, tmp_path, monkeypatch):
    calls = []
    original = OnnxEngine.run

    def run(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, pixels)

    monkeypatch.setattr(OnnxEngine, "run", run)
    with pytest.raises(KeyboardInterrupt):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", workers=1)
    monkeypatch.setattr(OnnxEngine, "run", original)
    kept = len(FeatureStore.open(tmp_path / "f"))
    assert 0 < kept < 96
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    assert (report.embedded, report.reused) == (96 - kept, kept)


def test_failures_are_reported_and_only_they_are_tried_again(catalog, tmp_path, pictures):
    good = (pictures / "photo" / "circle" / "00.png").read_bytes()
    broken = {
        "photo/circle/00.png": b"",
        "photo/circle/01.png": b"not an image",
        "sketch/square/02.png": good[: len(good) // 2],
    }
    for name, content in broken.items():
        (pictures / name).write_bytes(content)
    (pictures / "sketch" / "square" / "03.png").unlink()
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    assert report.embedded == 92
    reasons = {entry.id: entry.reason for entry in report.skipped}
    assert set(reasons) == {*broken, "sketch/square/03.png"}
    assert "empty" in reasons["photo/circle/00.png"]
    assert "does not exist" in reasons["sketch/square/03.png"]
    shards = len(list((tmp_path / "f" / "shards").iterdir()))
    assert embed_catalog(catalog, TinyBackbone(), tmp_path / "f").embedded == 0
    assert len(list((tmp_path / "f" / "shards").iterdir())) == shards
    for name in broken:
        (pictures / name).write_bytes(good)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    assert (report.embedded, report.reused) == (3, 92)
    assert [entry.id for entry in report.skipped] == ["sketch/square/03.png"]


def test_a_row_counts_for_the_file_it_was_made_of_alone(catalog, tmp_path, pictures):
    backbone, folder = TinyBackbone(), tmp_path / "f"
    before = features_of(catalog, backbone, folder=folder)
    name, gone = "photo/circle/00.png", "sketch/cross/01.png"
    file = pictures / name
    content, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(b"broken")
    (pictures / gone).unlink()
    for _ in range(2):
        report = embed_catalog(catalog, backbone, folder)
        assert {entry.id for entry in report.skipped} == {name, gone}
        assert report.reused == 94
        after = features_of(catalog, backbone, folder=folder)
        assert {entry.id for entry in after.skipped} == {name, gone}
        assert set(after.catalog.ids) == set(catalog.ids) - {name, gone}
        assert len(after.values) == 94
    # The very file that was embedded comes back: its row counts again.
    file.write_bytes(content)
    os.utime(file, ns=times)
    again = features_of(catalog, backbone, folder=folder)
    assert [entry.id for entry in again.skipped] == [gone]
    row, other = again.catalog.ids.index(name), before.catalog.ids.index(name)
    assert np.array_equal(again.values[row], before.values[other])


def test_files_of_one_size_and_time_that_changed_places(tiny_world, tmp_path):
    """Archives give all their files one time, and bitmaps of one shape have one size."""
    folder, shades = tmp_path / "shades", (10, 90, 200)
    for shade in shades:
        file = folder / "photo" / f"{shade}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (shade, 255 - shade, shade // 2)).save(file)
        os.utime(file, ns=(10**18, 10**18))
    catalog, backbone = Catalog.open(folder), TinyBackbone()
    before = features_of(catalog, backbone, folder=tmp_path / "f").centre
    first, second, third = catalog.paths
    parked = first.with_name("parked")
    first.rename(parked)
    second.rename(first)
    parked.rename(second)
    third.write_bytes(first.read_bytes())
    os.utime(third, ns=(10**18, 10**18))
    after = features_of(catalog, backbone, folder=tmp_path / "f").centre
    assert np.allclose(after, direct(backbone, catalog), rtol=1e-3, atol=2e-3)
    assert np.allclose(after[1], before[catalog.paths.index(first)], rtol=1e-3, atol=2e-3)
    assert not np.allclose(after[0], before[0], atol=1e-2)


def test_a_copied_root_needs_nothing_embedded_again(catalog, tmp_path, pictures):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    shutil.copytree(pictures, tmp_path / "copy", copy_function=shutil.copyfile)
    report = embed_catalog(Catalog.open(tmp_path / "copy"), TinyBackbone(), tmp_path / "f")
    assert (report.embedded, report.reused) == (0, 96)


def test_stamps_of_size_and_time_are_still_read(catalog, tmp_path):
    """Version 0.1 wrote no more."""
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    (mark,) = (tmp_path / "f" / "shards").glob("*.json")
    content = json.loads(mark.read_text())
    content["stamps"] = ["|".join(stamp.split("|")[:3]) for stamp in content["stamps"]]
    mark.write_text(json.dumps(content))
    assert embed_catalog(catalog, TinyBackbone(), tmp_path / "f").embedded == 0
    os.utime(catalog.paths[0], (5, 5))
    assert embed_catalog(catalog, TinyBackbone(), tmp_path / "f").embedded == 1


def test_views_drawn_in_another_way_are_refused(catalog, tmp_path):
    """The run would say that it had learned from other views than it did."""
    weak = Augmentation(grey_p=0.0, scale=(0.9, 1.0))
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", views=1, augmentation=weak, seed=3)
    told = {"views": 1, "folder": tmp_path / "f"}
    with pytest.raises(FeatureError, match=r"seed 3 and augmentation .*grey_p=0.*not by seed 3 and .* the usual"):
        features_of(catalog, TinyBackbone(), seed=3, **told)
    with pytest.raises(FeatureError, match=r"seed 3 .* not by seed 0"):
        features_of(catalog, TinyBackbone(), augmentation=weak, **told)
    for seed in (3, None):
        assert features_of(catalog, TinyBackbone(), augmentation=weak, seed=seed, **told).views == 1
    assert features_of(catalog, TinyBackbone(), folder=tmp_path / "f").views == 0


def test_another_backbone_is_refused_and_nothing_is_lost(catalog, tmp_path):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    with pytest.raises(FingerprintError, match=r"another embedding.*--backbone"):
        embed_catalog(catalog, TinyBackbone(seed=1), tmp_path / "f")
    assert len(FeatureStore.open(tmp_path / "f")) == 96


def test_other_views_are_refused(catalog, tmp_path):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", views=1)
    with pytest.raises(FeatureError, match="holds 1 views"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", views=2)


@pytest.mark.parametrize("damage", ["truncate", "delete", "mark"])
def test_a_damaged_shard_is_named_by_readers_and_made_anew_by_the_job(catalog, tmp_path, damage):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", shard_size=30)
    before = FeatureStore.open(tmp_path / "f").gather(catalog.ids)
    file = tmp_path / "f" / "shards" / "000001.safetensors"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "delete":
        file.unlink()
    else:
        file.with_suffix(".json").write_text('{"ids": ["a"')
    with pytest.raises(FeatureError, match="damaged shards"):
        FeatureStore.open(tmp_path / "f").gather(catalog.ids)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    assert report.embedded >= 30
    assert np.allclose(FeatureStore.open(tmp_path / "f").gather(catalog.ids), before, atol=2e-3)


def test_vectors_without_a_done_mark_do_not_count(catalog, tmp_path):
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", shard_size=30)
    total = len(FeatureStore.open(tmp_path / "f"))
    mark = tmp_path / "f" / "shards" / "000000.json"
    lost = len(json.loads(mark.read_text())["ids"])
    mark.unlink()
    assert len(FeatureStore.open(tmp_path / "f")) == total - lost
    assert embed_catalog(catalog, TinyBackbone(), tmp_path / "f").embedded == lost


def test_a_full_disk_is_reported_and_finished_shards_stay(catalog, tmp_path, monkeypatch):
    import crosslens.features.store as store_module

    saved = []
    original = store_module.save_file

    def save_file(tensors, path):
        if saved:
            raise OSError(28, "No space left on device")
        saved.append(path)
        original(tensors, path)

    monkeypatch.setattr(store_module, "save_file", save_file)
    with pytest.raises(CrosslensError, match="No space left"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", shard_size=30)
    monkeypatch.undo()
    store = FeatureStore.open(tmp_path / "f")
    assert len(store) >= 30
    assert not store.damaged
    assert not list((tmp_path / "f" / "shards").glob("*.tmp"))


def test_pictures_that_give_nan_are_skipped_with_the_reason(catalog, tmp_path):
    class Fragile(torch.nn.Module):
        """Gives NaN for pictures that are white at their corner, as the sketches are."""

        def __init__(self, tower):
            super().__init__()
            self.tower = tower

        def forward(self, images):
            corner = images[:, :, 0, 0].amin(1, keepdim=True)
            return self.tower(images).masked_fill(corner > 1.5, float("nan"))

    backbone = TinyBackbone()
    backbone = backbone.with_tower(Fragile(backbone.tower))
    report = embed_catalog(catalog, backbone, tmp_path / "f", device="torch-cpu")
    assert {entry.id for entry in report.skipped} == {name for name in catalog.ids if name.startswith("sketch/")}
    assert {entry.reason for entry in report.skipped} == {"the backbone tiny gave NaN or infinity"}
    assert np.isfinite(FeatureStore.open(tmp_path / "f").gather(catalog.select(domains=["photo"]).ids)).all()
    with pytest.raises(NothingEmbeddedError, match="NaN or infinity"):
        features_of(catalog.select(domains=["sketch"]), backbone, folder=tmp_path / "s", device="torch-cpu")


def test_features_beyond_fp16_are_an_error(catalog, tmp_path):
    backbone = TinyBackbone()
    with torch.no_grad():
        backbone.tower.out.weight.mul_(1e7)
    with pytest.raises(FeatureError, match="fp16"):
        embed_catalog(catalog, backbone, tmp_path / "f", device="torch-cpu")


def test_two_jobs_at_once_are_refused(catalog, tmp_path):
    from filelock import FileLock

    (tmp_path / "f").mkdir()
    with FileLock(tmp_path / "f" / ".lock"), pytest.raises(FeatureError, match="another process"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f")


def test_a_newer_folder_and_no_folder_are_refused(catalog, tmp_path):
    with pytest.raises(FeatureError, match="no feature folder"):
        FeatureStore.open(tmp_path)
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    text = (tmp_path / "f" / "features.json").read_text()
    (tmp_path / "f" / "features.json").write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(FeatureError, match="newer crosslens"):
        FeatureStore.open(tmp_path / "f")
    (tmp_path / "f" / "features.json").write_text(text.replace('"format": 1', '"format": "abc"'))
    with pytest.raises(FeatureError, match="its format is 'abc'"):
        FeatureStore.open(tmp_path / "f")
    (tmp_path / "f" / "features.json").write_text("{}")
    with pytest.raises(FeatureError, match="damaged"):
        FeatureStore.open(tmp_path / "f")


def test_batches_in_flight_are_bounded(catalog, tmp_path, monkeypatch):
    running, most, lock = 0, 0, threading.Lock()
    original = OnnxEngine.run

    def run(self, pixels):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return original(self, pixels)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(OnnxEngine, "run", run)
    embed_catalog(catalog, TinyBackbone(), tmp_path / "f", workers=3)
    assert 1 <= most <= 3


class TestCache:
    def test_the_second_time_reads_the_cache(self, catalog, monkeypatch):
        first = features_of(catalog, TinyBackbone())
        monkeypatch.setattr(OnnxEngine, "run", None)
        again = features_of(catalog, TinyBackbone())
        assert np.array_equal(first.values, again.values)
        assert first.centre.dtype == np.float32

    def test_centre_features_come_from_a_cache_with_views(self, catalog, monkeypatch):
        features_of(catalog, TinyBackbone(), views=1)
        monkeypatch.setattr(OnnxEngine, "run", None)
        assert features_of(catalog, TinyBackbone()).views == 0

    def test_images_that_failed_are_not_tried_again_until_they_change(self, catalog, pictures, monkeypatch):
        (pictures / "photo" / "circle" / "00.png").write_bytes(b"x")
        assert len(features_of(catalog, TinyBackbone()).skipped) == 1
        monkeypatch.setattr("crosslens.features.runner.make_engine", None)
        assert len(features_of(catalog, TinyBackbone()).skipped) == 1

    def test_domains_are_taken_apart(self, catalog):
        features = features_of(catalog, TinyBackbone())
        photo = features.of_domain("photo")
        assert photo.values.shape == (48, 1, 64)
        assert set(photo.catalog.column("domain")) == {"photo"}

    def test_no_readable_image_is_an_error_with_a_reason(self, tmp_path, tiny_world):
        (tmp_path / "p" / "photo").mkdir(parents=True)
        (tmp_path / "p" / "photo" / "a.png").write_bytes(b"x")
        with pytest.raises(FeatureError, match=r"none of the 1 images.*is not an image"):
            features_of(Catalog.open(tmp_path / "p"), TinyBackbone())
