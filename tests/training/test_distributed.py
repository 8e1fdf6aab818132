"""Two processes compute what one computes: the same batches, losses and encoder (gloo, two real processes)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crosslens.support.errors import TrainingError
from crosslens.training.batches import DomainBatches
from crosslens.training.distributed import World

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from testing.tiny_backbone import register_tiny
register_tiny()
import crosslens
crosslens.fit(
    "ucdir", {pictures!r}, out={out!r}, backbone="tiny", tune={tune!r},
    settings=dict(epochs=3, batch_size=16, views=2, head=[32, 16], clusters=[3, 5], cluster_epoch=1,
                  align_epoch=1, restarts=2, members=1, optimizer="sgd", lr=0.05,
                  # At 0.01 the softmax turns rounding into percents.
                  distance_temperature=0.2),
)
"""


def run(tmp_path, pictures, processes, tune="head"):
    out = tmp_path / f"run-{processes}"
    script = tmp_path / f"fit_{processes}.py"
    tests = str(Path(__file__).resolve().parents[1])
    script.write_text(SCRIPT.format(tests=tests, pictures=str(pictures), out=str(out), tune=tune))
    command = [sys.executable, str(script)]
    if processes > 1:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1"),
            *(f"--nproc-per-node={processes}", str(script)),
        ]
    finished = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr.decode()[-3000:]
    return out


@pytest.mark.parametrize("tune", ["head", "full"])
def test_two_processes_give_the_encoder_of_one(tmp_path, pictures, tune):
    """With ``full`` the network has batch normalisation, split in the momentum encoder: statistics are shared."""
    from crosslens.encoder import Encoder
    from crosslens.training.run import Run

    one, two = (run(tmp_path, pictures, processes, tune) for processes in (1, 2))
    first, second = (Run(folder).read_log() for folder in (one, two))
    for a, b in zip(first, second, strict=True):
        for name in a["losses"]:
            assert b["losses"][name] == pytest.approx(a["losses"][name], rel=2e-4), (a["epoch"], name)
    rows = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    encoders = [Encoder.load(folder / "encoder") for folder in (one, two)]
    vectors = [encoder.encode_features(rows) for encoder in encoders]
    assert np.allclose(vectors[0], vectors[1], atol=2e-4)
    if tune == "full":
        towers = [encoder.backbone.tower.state_dict() for encoder in encoders]
        for name, value in towers[0].items():
            assert torch.allclose(towers[1][name], value, rtol=1e-3, atol=2e-4), name


def test_gather_and_sum_give_the_gradient_of_the_whole_batch():
    """The arithmetic behind it, with the two processes played one after the other."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, requires_grad=True)
    inputs = torch.randn(8, 4)

    def loss_of(rows):
        similar = rows @ rows.t()
        return (torch.logsumexp(similar, 1) - similar.diagonal()).mean()

    whole = torch.autograd.grad(loss_of(inputs @ weight), weight)[0]
    parts = []
    for rank in range(2):
        own = World(rank, 2).part(8)
        rows = (inputs @ weight).detach()
        local = inputs[own] @ weight
        gathered = torch.cat([local if r == rank else rows[World(r, 2).part(8)] for r in range(2)])
        parts.append(torch.autograd.grad(loss_of(gathered), weight)[0])
    assert torch.allclose(sum(parts), whole, atol=1e-6)


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(TrainingError, match="a batch of 10 cannot be split over 4 processes"):
        World(0, 4).part(10)


class Numbers:
    """Views whose content says which image and which seed was asked for."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def draw(self, index, seeds):
        return torch.stack([index, seeds], 1)

    def centres(self, chunk=2048):
        yield torch.arange(self.size)


@pytest.mark.parametrize("order", ["independent", "joint"])
def test_an_epoch_shows_every_image_of_the_larger_domain_once(order):
    batches = DomainBatches((Numbers(20), Numbers(7)), 4, seed=3, order=order)
    assert batches.steps == 5
    seen = [batches.get(0, step) for step in range(5)]
    larger = torch.cat([batch.index[0] for batch in seen])
    smaller = torch.cat([batch.index[1] for batch in seen])
    assert sorted(larger.tolist()) == list(range(20))
    assert set(smaller.tolist()) == set(range(7))
    if order == "joint":
        # UCDIR's loader pairs both domains by one shuffled position.
        paired = [(a, b) for a, b in zip(larger.tolist(), smaller.tolist(), strict=True) if a < 7]
        assert all(a == b for a, b in paired)


def test_batches_are_a_function_of_seed_epoch_and_step():
    one, two = (DomainBatches((Numbers(20), Numbers(20)), 4, seed=3) for _ in range(2))
    forward = [one.get(1, step) for step in range(5)]
    single = two.get(1, 3)
    assert torch.equal(forward[3].queries[0], single.queries[0])
    assert torch.equal(forward[3].keys[1], single.keys[1])
    assert not torch.equal(forward[3].queries[0][:, 1], forward[3].keys[0][:, 1])
    assert not torch.equal(one.get(2, 3).index[0], single.index[0])


def test_processes_share_each_batch_without_overlap():
    whole = DomainBatches((Numbers(16), Numbers(16)), 8, seed=0).get(0, 1)
    parts = [DomainBatches((Numbers(16), Numbers(16)), 8, seed=0, world=World(r, 2)).get(0, 1) for r in range(2)]
    assert torch.equal(torch.cat([part.queries[0] for part in parts]), whole.queries[0])
    assert torch.equal(torch.cat([part.keys[1] for part in parts]), whole.keys[1])
    assert all(torch.equal(part.index[0], whole.index[0]) for part in parts)


OWN_FILES = """
import os, sys
sys.path.insert(0, {tests!r})
from testing.tiny_backbone import register_tiny
register_tiny()
import crosslens
from crosslens.training import order, views
order.BLOCK, order.WINDOW = 4, 3

def note(path):
    with open({out!r} + "-read-" + os.environ["RANK"], "a") as file:
        print(path, file=file)

view, centres = views.ImageViews._view, views.ImageViews.centres
def _view(self, pair):
    note(self.paths[pair[0]])
    return view(self, pair)
def read_centres(self, rows=None, chunk=2048):
    for row in rows.tolist():
        note(self.paths[row])
    return centres(self, rows, chunk)
views.ImageViews._view, views.ImageViews.centres = _view, read_centres
crosslens.fit(
    "ucdir", {pictures!r}, out={out!r}, backbone="tiny", tune="full", features={features!r},
    settings=dict(epochs=2, batch_size=16, head=[32, 16], clusters=[3], cluster_epoch=1, align_epoch=1,
                  members=1, bank_rows=20),
)
"""


@pytest.mark.slow
def test_each_process_reads_only_its_own_range_of_the_images(tmp_path, pictures):
    """``--tune full`` with more images than the bank has rows: batches, banks and clusters by two processes."""
    from crosslens.data.catalog import Catalog
    from crosslens.features.embed import embed_catalog
    from crosslens.training.run import Run
    from testing.tiny_backbone import TinyBackbone

    features, out = tmp_path / "features", tmp_path / "run"
    catalog = Catalog.open(pictures)
    embed_catalog(catalog, TinyBackbone(), features)
    script = tmp_path / "fit.py"
    tests = str(Path(__file__).resolve().parents[1])
    script.write_text(OWN_FILES.format(tests=tests, pictures=str(pictures), out=str(out), features=str(features)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run([*torchrun, str(script)], env=environment, capture_output=True, timeout=500)
    assert finished.returncode == 0, finished.stderr.decode()[-3000:]
    assert all(np.isfinite(entry["losses"]["total"]) for entry in Run(out).read_log())
    read = [set(Path(f"{out}-read-{rank}").read_text().split("\n")) - {""} for rank in (0, 1)]
    assert not read[0] & read[1]
    for domain in catalog.domains:
        paths = [str(path) for path in catalog.select(domains=[domain]).paths]
        assert read[0] & set(paths) == set(paths[:24])
        assert read[1] & set(paths) == set(paths[24:])
