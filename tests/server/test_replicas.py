"""Several servers over one index: what changes is seen by all, and one that ends loses nothing."""

import itertools
import json
import signal
import threading
import time

import httpx2
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.index.switching import switch_indexes
from testing.server_processes import started
from testing.tiny_backbone import TinyBackbone

PLACE = "/api/v1/collections/own.index"


class Load:
    """Searches without end from some threads, each asked of one replica, and of the next where it is not there.

    Attributes:
        answered: by the id of a request, the status and the replica that gave it.
        lost: ids that no replica answered.
    """

    def __init__(self, replicas, threads=4):
        self.replicas, self.answered, self.lost = replicas, {}, []
        self._numbers, self._ended = itertools.count(), threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(120)

    def pass_by(self, count):
        """Wait for so many more answers."""
        wanted = len(self.answered) + count
        wait_for(lambda: len(self.answered) >= wanted)

    def _ask(self):
        body = {"parts": [{"like": "photo/circle/01.png"}], "top": 2}
        while not self._ended.is_set():
            number = next(self._numbers)
            name = f"load-{number}"
            for turn in range(len(self.replicas)):
                replica = (number + turn) % len(self.replicas)
                try:
                    with httpx2.Client(base_url=self.replicas[replica], timeout=120) as client:
                        answer = client.post(f"{PLACE}/search", json=body, headers={"X-Request-ID": name})
                except httpx2.TransportError:
                    continue
                self.answered[name] = (answer.status_code, replica)
                break
            else:
                self.lost.append(name)


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def info(client):
    return client.get("/api/v1/collections").json()[0]


@pytest.mark.slow
def test_a_new_version_reaches_all_and_one_that_ends_loses_nothing(own_index, pictures_root, tmp_path):
    new = Index.build(Catalog.open(pictures_root), Encoder(TinyBackbone(seed=1)), tmp_path / "next.index")[0]
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    options = ("--log-json", "--rate", "100000")
    with (
        started(own_index, *options, log=logs[0]) as (process, one),
        started(own_index, *options, log=logs[1]) as (_, other),
        Load([one.base_url, other.base_url]) as load,
    ):
        load.pass_by(20)
        # The index changes where it lies.
        Index.open(own_index).delete(["photo/circle/00.png"])
        wait_for(lambda: [info(client)["items"] for client in (one, other)] == [15, 15])
        # Another one, with another encoder, takes its place, and goes back, and comes again.
        old = info(one)["fingerprint"]
        for wanted in (new.fingerprint.digest, old, new.fingerprint.digest):
            switch_indexes(own_index, tmp_path / "next.index")
            wait_for(lambda: [info(client)["fingerprint"] for client in (one, other)] == [wanted] * 2)  # noqa: B023
            load.pass_by(20)
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        load.pass_by(20)
    assert load.lost == []
    assert {status for status, _ in load.answered.values()} == {200}
    assert {replica for _, replica in load.answered.values()} == {0, 1}
    # What a replica took on reached who had asked for it, with the one that ended too.
    for replica, log in enumerate(logs):
        entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        taken = [entry for entry in entries if str(entry.get("request", "")).startswith("load-")]
        assert len(taken) > 20
        assert {load.answered[entry["request"]] for entry in taken} == {(200, replica)}
