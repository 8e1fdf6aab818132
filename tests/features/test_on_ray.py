"""Embedding on a Ray cluster of several nodes of this machine: every picture once, to the last bit."""

import json

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.features import on_ray
from crosslens.features.embed import embed_catalog
from crosslens.features.on_ray import OnRay
from crosslens.features.store import FeatureStore
from testing.tiny_backbone import TinyBackbone

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(_exports):
    """A cluster whose head has no processor, so that no node with work is the driver's own."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # The nodes are started with it.
        patch.setenv("CROSSLENS_CACHE", str(_exports))
        one = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            ray.init(
                address=one.address,
                log_to_driver=False,
                runtime_env={"worker_process_setup_hook": "testing.tiny_backbone.register_tiny"},
            )
            yield one
        finally:
            ray.shutdown()
            one.shutdown()


@pytest.fixture
def node(cluster):
    """A factory of nodes, which go with the test."""
    nodes = []

    def add(**options):
        nodes.append(cluster.add_node(**options))
        return nodes[-1]

    yield add
    for one in nodes:
        if one in cluster.list_all_nodes():
            cluster.remove_node(one)


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
