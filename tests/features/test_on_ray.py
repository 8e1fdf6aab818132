"""Embedding on a Ray cluster of several nodes of this machine: every picture once, to the last bit."""

import json
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.features import on_ray
from crosslens.features.embed import embed_catalog
from crosslens.features.on_ray import OnRay
from crosslens.features.store import FeatureStore
from crosslens.support.errors import ConfigError, CrosslensError, FeatureError
from testing.tiny_backbone import TinyBackbone

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(_exports):
    """A cluster whose head has no processor, so that no node with work is the driver's own."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # The nodes are started with it.
        patch.setenv("CROSSLENS_CACHE", str(_exports))
        # Ray gives way to all others, and on a busy machine would never come to an end.
        patch.setenv("RAY_worker_niceness", "0")
        one = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield one
        finally:
            ray.shutdown()
            one.shutdown()


@pytest.fixture
def node(cluster):
    """A factory of nodes, which go with the test."""
    if not ray.is_initialized():
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            runtime_env={"worker_process_setup_hook": "testing.tiny_backbone.register_tiny"},
        )
    nodes = []

    def add(**options):
        nodes.append(cluster.add_node(**options))
        return nodes[-1]

    yield add
    for one in nodes:
        if one in cluster.list_all_nodes():
            cluster.remove_node(one)
    # They take a moment to be forgotten.
    deadline = time.monotonic() + 60
    while ray.is_initialized() and {"CPU", "GPU"} & set(ray.cluster_resources()) and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.fixture
def catalog(pictures):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"no picture")
    return Catalog.open(pictures)


def ids_written(folder):
    marks = [json.loads(mark.read_text()) for mark in sorted((folder / "shards").glob("*.json"))]
    return [image for mark in marks for image in mark["ids"]]


def test_a_node_that_dies_in_the_middle_costs_no_picture_and_none_comes_twice(
    cluster, node, catalog, tmp_path, monkeypatch
):
    kept, doomed = node(num_cpus=1), node(num_cpus=1)
    assert kept is not doomed
    monkeypatch.setattr(on_ray, "_PIECE", 8)
    original, at_death = FeatureStore.add_shard, []

    def add_shard(self, *arguments, **options):
        original(self, *arguments, **options)
        if not at_death:
            at_death.append(len(self))
            cluster.remove_node(doomed, allow_graceful=False)

    monkeypatch.setattr(FeatureStore, "add_shard", add_shard)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "ray", views=1, shard_size=16, runner=OnRay("tiny"))
    monkeypatch.undo()
    assert 0 < at_death[0] < 95
    assert (report.embedded, [entry.id for entry in report.skipped]) == (95, ["photo/circle/00.png"])
    assert report.stages["decode"] > 0
    assert report.stages["infer"] > 0
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one", views=1, shard_size=16)
    # The shards are those of one process, in the same order, whatever order they were done in.
    assert ids_written(tmp_path / "ray") == ids_written(tmp_path / "one")
    first, second = FeatureStore.open(tmp_path / "one"), FeatureStore.open(tmp_path / "ray")
    kept_ids = ids_written(tmp_path / "one")
    assert [first.stamp(image) for image in kept_ids] == [second.stamp(image) for image in kept_ids]
    assert np.array_equal(first.gather(kept_ids), second.gather(kept_ids))
    assert first.skipped == second.skipped


@pytest.mark.parametrize("batches", [1, 7, 12, 31, 64, 100, 999])
@pytest.mark.parametrize("processors", [0, 1, 2, 16])
def test_every_worker_gets_several_pieces_where_a_job_is_small(batches, processors):
    class Idle(on_ray._OnCpus):
        def submit(self, piece):
            handed.append(piece)
            return piece.first

        def _taken(self, ref, piece):
            return on_ray._Done([None] * len(piece.batches), "", [], {})

    handed = []
    fake = SimpleNamespace(
        remote=lambda **options: lambda function: None,
        cluster_resources=lambda: {"CPU": processors},
        wait=lambda refs, **options: (refs[:1], refs[1:]),
        cancel=lambda ref: None,
    )
    work = [[number] for number in range(batches)]
    assert [number for number, _ in Idle(fake, None, None).run(work)] == list(range(batches))
    # Each batch once, as it was; only how many go together differs.
    assert [batch for piece in handed for batch in piece.batches] == work
    assert [piece.first for piece in handed] == [piece.batches[0][0] for piece in handed]
    assert max(len(piece.batches) for piece in handed) <= 8
    assert len(handed) >= min(batches, 4 * processors)
    # Where there is enough for all, pieces are as large as they may be.
    if batches >= 2 * 32 * max(1, processors):
        assert len(handed) == -(-batches // 8)


@pytest.mark.slow
def test_towers_on_gpus_decode_elsewhere_and_outlive_one_another(cluster, node, catalog, tmp_path, monkeypatch):
    """The GPUs are numbers that the cluster counts; the towers run where there is a processor."""
    node(num_cpus=1, num_gpus=1)
    doomed = node(num_cpus=0, num_gpus=1)
    monkeypatch.setattr(on_ray, "TOWER_DEVICE", "torch-cpu")
    monkeypatch.setattr(on_ray, "_GPU_BATCH", 8)
    monkeypatch.setattr(on_ray._OnGpus, "batch_size", 8)
    monkeypatch.setattr(on_ray, "_PIECE", 8)
    original, killed = FeatureStore.add_shard, []

    def add_shard(self, *arguments, **options):
        original(self, *arguments, **options)
        if not killed:
            killed.append(True)
            cluster.remove_node(doomed, allow_graceful=False)

    monkeypatch.setattr(FeatureStore, "add_shard", add_shard)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "ray", shard_size=16, runner=OnRay("tiny"))
    monkeypatch.undo()
    assert killed
    assert report.embedded == 95
    embed_catalog(catalog, TinyBackbone(), tmp_path / "one", shard_size=16, device="torch-cpu")
    ids = ids_written(tmp_path / "one")
    assert ids_written(tmp_path / "ray") == ids
    first, second = (FeatureStore.open(tmp_path / name).gather(ids) for name in ("one", "ray"))
    assert np.allclose(first, second, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_cluster_of_no_node_is_waited_for_and_said(cluster, node, catalog, tmp_path, monkeypatch):
    told = []

    def note(text, style=""):
        told.append(text)
        if len(told) == 1:
            node(num_cpus=1)

    monkeypatch.setattr(on_ray, "note", note)
    for name in ("_TICK", "_TELL", "_PATIENCE"):
        monkeypatch.setattr(on_ray, name, 1.0)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny"))
    assert report.embedded == 95
    assert "no processor left; a node that joins it goes on" in told[0]


@pytest.mark.slow
def test_a_cluster_that_shrinks_to_nothing_in_the_middle_is_waited_for(
    cluster, node, catalog, tmp_path, monkeypatch
):
    only = node(num_cpus=1)
    told, written, original = [], [], FeatureStore.add_shard

    def add_shard(self, *arguments, **options):
        original(self, *arguments, **options)
        if not written:
            cluster.remove_node(only, allow_graceful=False)
        written.append(len(self))

    def note(text, style=""):
        told.append(text)
        if len(told) == 1:
            node(num_cpus=1)

    monkeypatch.setattr(on_ray, "_PIECE", 8)
    monkeypatch.setattr(on_ray, "note", note)
    monkeypatch.setattr(FeatureStore, "add_shard", add_shard)
    for name in ("_TICK", "_TELL", "_PATIENCE"):
        monkeypatch.setattr(on_ray, name, 1.0)
    report = embed_catalog(catalog, TinyBackbone(), tmp_path / "f", shard_size=16, runner=OnRay("tiny"))
    assert (report.embedded, len(report.skipped)) == (95, 1)
    assert "no processor left; a node that joins it goes on" in told[0]
    assert sorted(ids_written(tmp_path / "f")) == sorted(set(catalog.ids) - {"photo/circle/00.png"})


@pytest.mark.slow
def test_what_differs_on_a_node_is_said(node, catalog, pictures, tmp_path, monkeypatch):
    node(num_cpus=1)
    with pytest.raises(FeatureError, match=r"on the node .*: the backbone tiny:1 is another there than here"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "a", runner=OnRay("tiny:1"))
    original = on_ray._Job
    monkeypatch.setattr(on_ray, "_Job", lambda **told: original(**told, version="0.0"))
    with pytest.raises(FeatureError, match=r"on the node .*: crosslens is .* there and 0.0 here"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "b", runner=OnRay("tiny"))
    monkeypatch.setattr(on_ray, "_Job", lambda **told: original(**told | {"folder": "/nowhere"}))
    monkeypatch.chdir(pictures.parent)
    with pytest.raises(
        FeatureError, match=r"the node .* does not see pictures/photo/.*the same path on every node"
    ):
        embed_catalog(Catalog.open(pictures.name), TinyBackbone(), tmp_path / "c", runner=OnRay("tiny"))
    assert len(FeatureStore.open(tmp_path / "c")) == 0


@pytest.mark.slow
def test_a_node_that_cannot_write_is_named(node, catalog, tmp_path):
    (tmp_path / "full").touch()
    node(num_cpus=1, env_vars={"CROSSLENS_CACHE": str(tmp_path / "full" / "cache")})
    with pytest.raises(FeatureError, match=r"on the node .*full"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny"))


@pytest.mark.slow
def test_pictures_that_kill_every_worker_come_to_an_end(node, catalog, tmp_path, monkeypatch):
    node(num_cpus=1)
    deadly = ray.remote(max_retries=0)(lambda status: os._exit(status))
    monkeypatch.setattr(on_ray._OnCpus, "submit", lambda self, piece: deadly.remote(1))
    monkeypatch.setattr(on_ray, "_RETRIES", 1)
    with pytest.raises(FeatureError, match=r"lost 2 times, at last by WorkerCrashedError"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny"))


@pytest.mark.slow
def test_another_version_of_ray_is_refused(cluster, catalog, tmp_path, monkeypatch):
    ray.shutdown()
    monkeypatch.setattr(ray, "__version__", "1.0.0")
    with pytest.raises(CrosslensError, match=r"no work with the Ray cluster at .*: .*Version mismatch.* 1\.0\.0"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny", address=cluster.address))


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("127.0.0.1:1", CrosslensError, "no Ray cluster answers at 127.0.0.1:1"),
        ("ray://127.0.0.1:1", CrosslensError, "no Ray cluster answers at ray://127.0.0.1:1"),
        ("127.0.0.1:99999", CrosslensError, "no Ray cluster answers"),
        ("nowhere.invalid:6379", CrosslensError, "no Ray cluster answers"),
        ("somewhere", ConfigError, "HOST:6379"),
    ],
)
def test_an_address_that_nobody_answers_at_is_said_at_once(catalog, tmp_path, monkeypatch, address, error, words):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(error, match=words):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny", address=address))


def test_without_ray_it_is_said_what_to_install(catalog, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CrosslensError, match=r"pip install 'crosslens\[ray\]'"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f", runner=OnRay("tiny"))
