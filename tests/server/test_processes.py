"""The real command in processes of its own: signals, several workers, several writers."""

import os
import signal
import socket
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from crosslens.search.index.index import Index
from crosslens.server.jobs import JobTable
from testing.server_processes import started
from testing.servers import encoded, plain

PLACE = "/api/v1/collections/own.index"


def noise(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def add(client, *pictures):
    files = [("images", (str(n), picture)) for n, picture in enumerate(pictures)]
    answer = client.post(f"{PLACE}/items", data={"domain": "noise"}, files=files)
    assert answer.status_code == 202, answer.text
    return answer.json()["job"]["id"]


def ended(client, job, seconds=240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.get(f"/api/v1/jobs/{job}").json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_it_says_where_it_is_and_ends_when_told(own_index):
    with started(own_index) as (process, client):
        assert client.get("/api/v1/collections").json()[0]["items"] == 16
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGTERM)
        assert str(client.base_url).rstrip("/") in printed
        assert "/docs" in printed
        assert "Traceback" not in printed


@pytest.mark.slow
def test_running_requests_are_answered_when_it_stops(own_index):
    with started(own_index) as (process, client):
        job = add(client, *(noise(n) for n in range(64)))
        body = b'{"parts":[{"like":"photo/circle/00.png"}],"top":2}'
        head = (
            f"POST {PLACE}/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(head + body[:10])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[10:])
            assert b" 200 " in connection.recv(4096).split(b"\r\n")[0]
        process.wait(120)
    table = JobTable(own_index, "own.index")
    assert table.get(job).state in ("queued", "done")
    assert len(Index.open(own_index)) - 16 == table.get(job).done
    with started(own_index) as (_, client):
        assert ended(client, job)["result"]["items"] == 80


@pytest.mark.slow
def test_a_killed_server_loses_nothing(own_index):
    with started(own_index) as (process, client):
        job = add(client, *(noise(n) for n in range(64)))
        while client.get(f"/api/v1/jobs/{job}").json()["state"] == "queued":
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(120)
    assert len(Index.open(own_index)) in (16, 48, 80)
    with started(own_index) as (_, client):
        assert ended(client, job)["state"] == "done"
        assert client.get("/api/v1/collections").json()[0]["items"] == 80


@pytest.mark.slow
def test_workers_share_jobs_and_see_each_others_changes(own_index):
    with started(own_index, "--workers", "3") as (process, client):
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) >= 3
        # A connection each: the kernel hands them to different workers.
        clients = [httpx2.Client(base_url=client.base_url, timeout=120) for _ in range(12)]
        jobs = [add(one, noise(2 * n), noise(2 * n + 1)) for n, one in enumerate(clients)]
        for one in clients:
            listed = {job["id"] for job in one.get("/api/v1/jobs").json()}
            assert set(jobs) <= listed
        assert [ended(clients[0], job)["state"] for job in jobs] == ["done"] * 12
        time.sleep(1.5)
        for one in clients:
            one.get("/api/v1/collections")
            assert one.get("/api/v1/collections").json()[0]["items"] == 40
        Index.open(own_index).delete(["photo/circle/00.png"])
        time.sleep(1.5)
        for one in clients:
            assert one.get("/api/v1/collections").json()[0]["items"] == 39
            answer = one.post(
                f"{PLACE}/search", data={"query": '{"parts":[{"image":0}]}'}, files=[("images", plain())]
            )
            assert answer.status_code == 200
        # The metrics of all workers come together.
        text = client.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("crosslens_requests_total{")]
        searched = [line for line in lines if "search" in line]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in searched) == 12
        for one in clients:
            one.close()
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    # The interpreter's own helper process ends a moment after the one that it helped.
    deadline = time.monotonic() + 120
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
