"""Images per second of ``embed`` on Ray: beside threads on one machine, and of two nodes beside one.

Each takes turns over the same images, after a round that warms it up: starting Ray and loading the network in its
workers are left out, which takes the longer the more nodes there are. On one machine threads and Ray have the same
processors. A node is a raylet of its own with one processor, which it is pinned to; the process that embeds, and
the head of the cluster, live on the first node's, as in a cluster whose first machine is its head. Beside the
clock stands the processor time that everything took, which says what Ray costs on a machine that others use too.
At last a node is killed in the middle of a run.

    python benchmarks/ray_embed.py PICTURES --images 512 --repeats 3 --json ray.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import ray
from ray.cluster_utils import Cluster

from crosslens.api import open_catalog
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.features.embed import embed_catalog
from crosslens.features.on_ray import OnRay, _OnCpus
from crosslens.features.runner import OnThreads, Runner
from crosslens.features.store import FeatureStore
from crosslens.support.files import write_json

Rates = tuple[float, float]
"""Images per second by the clock, and per second of a processor."""
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """What this process and all below it took so far."""
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(folder.name)
            parents[pid], spent[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    total = 0.0
    for pid, seconds in spent.items():
        above = pid
        while above not in (0, os.getpid()):
            above = parents.get(above, 0)
        total += seconds if above == os.getpid() else 0.0
    return total


def timed(catalog: Catalog, backbone: Backbone, runner: Runner) -> Rates:
    """Images per second by the clock, and per second of a processor."""
    with tempfile.TemporaryDirectory() as folder:
        before, started = processor_seconds(), time.perf_counter()
        report = embed_catalog(catalog, backbone, Path(folder) / "f", shard_size=128, runner=runner)
        seconds, work = time.perf_counter() - started, processor_seconds() - before
    assert report.embedded == len(catalog)
    return len(catalog) / seconds, len(catalog) / work


def by_turns(ways: dict[str, Callable[[], tuple[float, float]]], repeats: int) -> dict[str, list[Rates]]:
    for way in ways.values():
        way()
    rates: dict[str, list[Rates]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in sorted(ways, reverse=bool(turn % 2)):
            rates[name].append(ways[name]())
            print(
                f"{name}: {rates[name][-1][0]:.1f} images/s, {rates[name][-1][1]:.1f} per processor second",
                flush=True,
            )
    return rates


def ratios(rates: dict[str, list[Rates]], one: str, other: str) -> dict[str, Any]:
    """Of ``one`` to ``other``, turn by turn: median and span, by the clock and by processor time."""
    result: dict[str, Any] = {
        "rates": {name: [round(rate, 2) for rate, _ in pairs] for name, pairs in rates.items()}
    }
    for place, kind in ((0, "clock"), (1, "processor")):
        each = [a[place] / b[place] for a, b in zip(rates[one], rates[other], strict=True)]
        result[kind] = {"median": statistics.median(each), "from": min(each), "to": max(each)}
    return result


def pin_this_process(core: int) -> None:
    """To one processor, with all that it starts from now on."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def pinned_node(cluster: Cluster, core: int) -> Any:
    node = cluster.add_node(num_cpus=1)
    # Workers come from the raylet, and take its processors over.
    for process in node.all_processes["raylet"]:
        os.sched_setaffinity(process.process.pid, {core})
    return node


def one_machine(catalog: Catalog, backbone: Backbone, repeats: int) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        ways = {
            "threads": lambda: timed(catalog, backbone, OnThreads(cores)),
            "ray": lambda: timed(catalog, backbone, OnRay(backbone.name)),
        }
        return ratios(by_turns(ways, repeats), "ray", "threads")
    finally:
        ray.shutdown()


def two_nodes(catalog: Catalog, backbone: Backbone, repeats: int) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    pin_this_process(cores[0])
    on_cluster, warm = OnRay(backbone.name), catalog.take(range(0, len(catalog), 4))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        pinned_node(cluster, cores[0])
        rates: dict[str, list[Rates]] = {"two nodes": [], "one node": []}
        for _ in range(repeats):
            # Of a cluster of two, one node alone cannot be asked: the other comes and goes.
            second = pinned_node(cluster, cores[1])
            timed(warm, backbone, on_cluster)
            rates["two nodes"].append(timed(catalog, backbone, on_cluster))
            cluster.remove_node(second)
            rates["one node"].append(timed(catalog, backbone, on_cluster))
            print(
                f"{rates['two nodes'][-1][0]:.1f} images/s on two nodes, {rates['one node'][-1][0]:.1f} on one",
                flush=True,
            )
        result = ratios(rates, "two nodes", "one node")
        second = pinned_node(cluster, cores[1])
        timed(warm, backbone, on_cluster)
        result["node kill"] = killed(catalog, backbone, cluster, second)
        return result
    finally:
        ray.shutdown()
        cluster.shutdown()


def killed(catalog: Catalog, backbone: Backbone, cluster: Cluster, node: Any) -> dict[str, Any]:
    """Kill a node when half of the shards are there: how many pieces were handed out again for it."""
    handed, submit = [], _OnCpus.submit

    def counted(self: _OnCpus, piece: Any) -> Any:
        handed.append(piece.first)
        return submit(self, piece)

    with tempfile.TemporaryDirectory() as folder:
        place, once = Path(folder) / "ray", Path(folder) / "threads"

        def kill() -> None:
            while len(list((place / "shards").glob("*.json"))) < len(catalog) // 256:
                time.sleep(0.05)
            cluster.remove_node(node, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        with patch.object(_OnCpus, "submit", counted):
            report = embed_catalog(catalog, backbone, place, shard_size=128, runner=OnRay(backbone.name))
        killer.join()
        embed_catalog(catalog, backbone, once)
        written, plain = FeatureStore.open(place), FeatureStore.open(once)
        return {
            "embedded": report.embedded,
            "pieces": len(set(handed)),
            "pieces handed out again": len(handed) - len(set(handed)),
            "bit-identical to threads": bool(
                np.array_equal(written.gather(catalog.ids), plain.gather(catalog.ids))
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of pictures")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    # Ray's workers give way to all other processes, threads do not.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    whole = open_catalog(arguments.root)
    chosen = np.unique(np.linspace(0, len(whole) - 1, min(arguments.images, len(whole))).astype(int))
    # In random order, so that each part of a run has pictures of all kinds.
    catalog = whole.take(np.random.default_rng(0).permutation(chosen).tolist())
    backbone = load_backbone("lite")
    result = {
        "images": len(catalog),
        "ray to threads": one_machine(catalog, backbone, arguments.repeats),
        "two nodes to one": two_nodes(catalog, backbone, arguments.repeats),
    }
    if arguments.json:
        write_json(arguments.json, result)
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
