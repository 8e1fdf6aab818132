"""Fits whose domains have more images than ``bank_rows``: features on disk, in blocks, a bank of a sample."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.features.embed import embed_catalog
from crosslens.features.store import FeatureStore
from crosslens.losses.instance import instance_contrast
from crosslens.methods.two_view import Embedded, TwoViewTraining
from crosslens.support.errors import ConfigError, FeatureError, TrainingError
from crosslens.training import order
from crosslens.training.views import CachedViews, StoredViews
from testing.tiny_backbone import TinyBackbone

QUICK = {"epochs": 3, "batch_size": 16, "views": 2, "head": [32, 16], "bank_rows": 20}
OWN = {
    "ucdir": {"clusters": [3, 4], "cluster_epoch": 1, "align_epoch": 1, "members": 1},
    "protonce": {"clusters": [3], "cluster_epoch": 1},
    "protoot": {"clusters": [3], "cross_epoch": 1},
    "instance": {},
    "uem": {"clusters": [3], "align_epochs": 1, "members": 1},
}


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    monkeypatch.setattr(order, "BLOCK", 4)
    monkeypatch.setattr(order, "WINDOW", 3)


def fit(pictures, out, method="ucdir", own=(), **options):
    settings = QUICK | OWN[method] | dict(own)
    return crosslens.fit(method, pictures, out=out, backbone="tiny", settings=settings, **options)


def rows(run):
    inputs = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    return crosslens.load_encoder(run.folder).encode_features(inputs)


@pytest.mark.parametrize("method", OWN)
def test_every_method_trains_on_a_sample_of_its_bank(pictures, tmp_path, method, monkeypatch):
    """48 images a domain, 20 in the bank: all are drawn, but for UEM, which learns from the 20 alone."""
    seen, original = set(), StoredViews.draw

    def draw(self, index, seeds):
        seen.update(index.tolist())
        return original(self, index, seeds)

    monkeypatch.setattr(StoredViews, "draw", draw)
    run = fit(pictures, tmp_path / "run", method)
    log = run.read_log()
    assert all(np.isfinite(entry["losses"]["total"]) for entry in log)
    assert seen == (set() if method == "uem" else set(range(48)))
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0.2


def test_a_bank_as_large_as_the_domain_changes_nothing(pictures, tmp_path):
    whole = fit(pictures, tmp_path / "whole", own={"bank_rows": 48})
    default = fit(pictures, tmp_path / "default", own={"bank_rows": 131072})
    sampled = fit(pictures, tmp_path / "sampled", own={"bank_rows": 47})
    assert np.array_equal(rows(whole), rows(default))
    assert not np.allclose(rows(whole), rows(sampled), atol=1e-3)


@pytest.mark.parametrize("method", ["ucdir", "protoot"])
def test_a_killed_fit_resumes_to_the_same_bits(pictures, tmp_path, killed_after, method):
    whole = fit(pictures, tmp_path / "whole", method)
    with killed_after(5, TwoViewTraining, modules=("crosslens.methods.two_view",)):
        fit(pictures, tmp_path / "broken", method)
    resumed = fit(pictures, tmp_path / "broken", method, resume=True)
    assert np.array_equal(rows(whole), rows(resumed))


def test_an_image_outside_the_bank_meets_it_as_one_within_meets_the_others():
    """The loss of an image that has no row is that of a bank with a row more: its own."""
    rng = torch.Generator().manual_seed(3)
    unit = lambda *shape: torch.nn.functional.normalize(torch.randn(*shape, generator=rng), dim=-1)  # noqa: E731
    bank, q, keys = unit(9, 4), unit(2, 4), unit(2, 4)

    class Training:
        banks, undo = [bank.clone()], []
        _write, _write_rows = TwoViewTraining._write, TwoViewTraining._write_rows

        class samples:  # noqa: N801
            def __class_getitem__(cls, domain):
                from crosslens.training.bank import BankSample

                return BankSample(torch.arange(0, 18, 2))

    training = Training()
    part = training._write(0, q, keys, torch.tensor([4, 7]))
    assert part.held.tolist() == [True, False]
    assert torch.equal(training.banks[0][2], keys[0])
    loss = instance_contrast(part.q, part.keys, part.bank, part.index, 0.2)
    known = training.banks[0]
    by_hand = []
    for i, others in ((0, [*range(2), *range(3, 9)]), (1, range(9))):
        negatives = [known[j] for j in others] + [keys[1 - i]] * (i == 0)
        own = torch.exp(q[i] @ keys[i] / 0.2)
        by_hand.append(-torch.log(own / (own + sum(torch.exp(q[i] @ n / 0.2) for n in negatives))))
    assert loss.item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)
    # Twice in a batch, an image is nobody's negative: the later key stands in its one slot.
    twice = training._write(0, q, keys, torch.tensor([7, 7]))
    assert len(twice.bank) == 10
    assert twice.index.tolist() == [9, 9]
    for undo in reversed(training.undo):
        undo()
    assert torch.equal(training.banks[0], bank)


def test_clusters_of_images_outside_are_those_of_the_nearest_centroid():
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    held = torch.tensor([True, False, False])
    part = Embedded(keys, keys, torch.tensor([1, 2, 3]), torch.zeros(4, 2), held)
    centroids = torch.tensor([[0.0, 0.9], [0.1, -0.8], [0.9, 0.0]])
    assert part.clusters(torch.tensor([0, 1]), centroids).tolist() == [1, 0, 1]


def test_joint_order_and_cumulative_clusters_are_refused(pictures, tmp_path):
    with pytest.raises(TrainingError, match="raise bank_rows"):
        fit(pictures, tmp_path / "a", own={"order": "joint"})
    with pytest.raises(ConfigError, match="raise bank_rows"):
        fit(pictures, tmp_path / "b", own={"several": "cumulative"})


@pytest.fixture
def folder(pictures, tmp_path):
    embed_catalog(open_catalog(pictures), TinyBackbone(), tmp_path / "features", views=3, shard_size=16)
    return tmp_path / "features"


def test_stored_views_are_those_in_memory(folder):
    store = FeatureStore.open(folder)
    ids = sorted(store.ids.to_pylist())[::-1][3:70]
    for count in (None, 1):
        stored = store.stored(ids, count)
        values = store.gather(ids, count)
        assert np.array_equal(stored.load(), values)
        mask = np.arange(len(ids)) % 3 == 0
        assert np.array_equal(stored.where(mask).load(), values[mask])
        mean, cpu = torch.randn(64), torch.device("cpu")
        disk, memory = StoredViews(stored, mean, cpu), CachedViews(values, mean, cpu)
        index, seeds = torch.randint(0, 67, (20,)), torch.randint(0, 2**31 - 1, (20,))
        disk.read_ahead(10, 40)
        assert torch.equal(disk.draw(index, seeds), memory.draw(index, seeds))
        for wanted in (None, index):
            both = (torch.cat(list(views.centres(wanted, chunk=16))) for views in (disk, memory))
            assert torch.equal(*both)


@pytest.mark.parametrize("damage", ["cut off", "changed", "removed"])
def test_a_shard_that_is_touched_while_it_is_used_is_told(folder, damage):
    store = FeatureStore.open(folder)
    stored = store.stored(sorted(store.ids.to_pylist()))
    shard = sorted((folder / "shards").glob("*.safetensors"))[0]
    if damage == "cut off":
        # Already open: what is missing shows when it is read.
        stored.read(np.arange(96), np.zeros(96, np.int64))
        with open(shard, "r+b") as handle:
            handle.truncate(500)
    elif damage == "changed":
        shard.write_bytes(shard.read_bytes())
    else:
        shard.unlink()
    with pytest.raises(FeatureError, match=rf"{damage} while its vectors were in use.*--resume"):
        stored.read(np.arange(96), np.zeros(96, np.int64))


def test_a_run_that_began_before_there_was_the_setting_goes_on(pictures, tmp_path, killed_after):
    own = {"bank_rows": 131072}
    whole = fit(pictures, tmp_path / "whole", own=own)
    with killed_after(5, TwoViewTraining, modules=("crosslens.methods.two_view",)):
        fit(pictures, tmp_path / "broken", own=own)
    config = tmp_path / "broken" / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "bank_rows" not in line))
    assert np.array_equal(rows(whole), rows(fit(pictures, tmp_path / "broken", own=own, resume=True)))


def test_a_sample_of_two_processes_is_not_taken_for_that_of_one(pictures, tmp_path, killed_after):
    with killed_after(5, TwoViewTraining, modules=("crosslens.methods.two_view",)):
        fit(pictures, tmp_path / "broken")
    file = tmp_path / "broken" / "checkpoints" / "last.pt"
    state = torch.load(file, weights_only=True)
    state["job"]["processes"] = 2
    torch.save(state, file)
    with pytest.raises(TrainingError, match="2 processes drew the sample of its banks, and there are 1 now"):
        fit(pictures, tmp_path / "broken", resume=True)


def test_other_images_than_the_checkpoint_knows_are_told(pictures, tmp_path, killed_after):
    with killed_after(5, TwoViewTraining, modules=("crosslens.methods.two_view",)):
        fit(pictures, tmp_path / "broken")
    sorted(pictures.rglob("*.png"))[0].write_bytes(b"no picture any more")
    with pytest.raises(TrainingError, match=r"had \[48, 48\] images and have \[47, 48\] now"):
        fit(pictures, tmp_path / "broken", resume=True)
