"""Adding and deleting over HTTP: jobs, their progress, cancelling, resuming, and the files behind them."""

import io
import threading
import time
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from crosslens.encoder.compiled import CompiledEncoder
from crosslens.search.index.index import Index
from crosslens.server import jobs, working
from crosslens.server.collection import Collection
from crosslens.server.jobs import JobTable
from crosslens.support.errors import StoreError
from testing.servers import encoded, is_problem, plain, running

PLACE = "/api/v1/collections/own.index"


@pytest.fixture
def server(own_index):
    with running(own_index) as started:
        yield started


def noise(seed, kind="PNG", side=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def count(server):
    return server.client.get("/api/v1/collections").json()[0]["items"]


def delete(server, **asked):
    return server.client.request("DELETE", f"{PLACE}/items", json=asked)


@pytest.mark.parametrize("name", ["   ", "\u200b", "a\nb", "\x1b[1m", "x" * 101])
@pytest.mark.parametrize("field", ["domain", "label"])
def test_what_is_no_name_of_a_domain_or_class_is_refused(server, field, name):
    given = {"domain": "photo", field: name}
    answer = server.add(noise(1), name="own.index", **given)
    is_problem(answer, 422)
    assert answer.json()["errors"][0]["where"] == field


def test_names_of_uploads_are_read_as_those_of_folders(server):
    job = server.ended(server.add(noise(1), domain="\u200bphoto ", label="cafe\u0301", name="own.index"))
    assert job["state"] == "done"
    for field, value in (("label", "café"), ("label", "cafe\u0301"), ("domain", "photo")):
        where = {"op": "eq", "field": field, "value": value}
        found = server.search(
            {"parts": [{"image": 0}], "top": 1, "where": where}, noise(1), name="own.index"
        ).json()
        assert (found["hits"][0]["domain"], found["hits"][0]["label"]) == ("photo", "café")


def test_added_images_are_found_at_once(server, own_index):
    pictures = [noise(n, kind) for n, kind in enumerate(("PNG", "JPEG", "WEBP", "TIFF"))]
    answer = server.add(*pictures, domain="noise", label="static", name="own.index")
    job = server.ended(answer)
    assert answer.json()["job"]["state"] == "queued"
    assert job["state"] == "done"
    assert (job["done"], job["total"]) == (4, 4)
    assert job["result"] == {"added": 4, "ids": ANY, "skipped": [], "items": 20}
    for picture, suffix in zip(pictures, (".png", ".jpg", ".webp", ".tif"), strict=True):
        found = server.search({"parts": [{"image": 0}], "top": 1}, picture, name="own.index").json()
        (hit,) = found["hits"]
        assert hit["score"] == pytest.approx(1, abs=1e-3)
        assert hit["id"].startswith("uploads/")
        assert hit["id"].endswith(suffix)
        assert (hit["domain"], hit["label"], hit["size"]) == ("noise", "static", len(picture))
        assert server.client.get(hit["image"]).content == picture
        assert (own_index / hit["id"]).read_bytes() == picture
    assert count(server) == 20
    assert len(Index.open(own_index)) == 20


def test_the_same_image_is_one_item(server, own_index):
    assert server.ended(server.add(plain(), plain(), name="own.index"))["result"]["added"] == 1
    assert server.ended(server.add(plain(), domain="flat", name="own.index"))["result"]["items"] == 17
    (hit,) = server.search({"parts": [{"image": 0}], "top": 1}, plain(), name="own.index").json()["hits"]
    assert hit["domain"] == "flat"
    assert len([file for file in (own_index / "uploads").rglob("*") if file.is_file()]) == 1


def test_names_of_uploads_do_not_matter(server, own_index):
    names = ["../../evil.png", "/etc/passwd", "a\0b", "x" * 300, "..", ""]
    for number, name in enumerate(names):
        files = [("images", (name or "n", noise(number)))]
        answer = server.client.post(f"{PLACE}/items", data={"domain": "photo"}, files=files)
        assert server.ended(answer)["state"] == "done"
    kept = [file for file in (own_index / "uploads").rglob("*") if file.is_file()]
    assert len(kept) == len(names)
    assert all(len(file.stem) == 40 for file in kept)


def test_deleting_by_id_and_by_filter(server, own_index):
    upload = noise(1)
    server.ended(server.add(upload, name="own.index"))
    (hit,) = server.search({"parts": [{"image": 0}], "top": 1}, upload, name="own.index").json()["hits"]
    job = server.ended(delete(server, ids=[hit["id"], "photo/circle/00.png", "nothing"]))
    assert job["result"] == {"deleted": 2, "items": 15}
    assert not (own_index / hit["id"]).exists()
    is_problem(server.client.get(hit["image"]), 404)
    job = server.ended(delete(server, where={"op": "prefix", "field": "id", "value": "photo/cross/"}))
    assert job["result"] == {"deleted": 4, "items": 11}
    assert count(server) == 11
    # What was indexed where it lies stays there.
    index = Index.open(own_index)
    assert len(index) == 11
    assert (index.roots[0] / "photo" / "circle" / "00.png").exists()


def test_deleting_by_filter_deletes_uploaded_files(server, own_index):
    server.ended(server.add(noise(1), noise(2), domain="noise", name="own.index"))
    server.ended(server.add(noise(3), domain="other", name="own.index"))
    server.ended(delete(server, where={"op": "eq", "field": "domain", "value": "noise"}))
    assert len([file for file in (own_index / "uploads").rglob("*") if file.is_file()]) == 1


@pytest.mark.parametrize(
    "asked",
    [{}, {"ids": []}, {"ids": ["a"], "where": {"op": "eq", "field": "id", "value": "a"}}, {"ids": [1]},
     {"all": True}, {"ids": [""]}, {"ids": ["a"] * 10_001},
     {"where": {"op": "prefix", "field": "root", "value": "/"}}],
)  # fmt: skip
def test_deletes_that_are_refused(server, asked):
    is_problem(server.client.request("DELETE", f"{PLACE}/items", json=asked), 422)
    assert count(server) == 16


def test_adds_that_are_refused(server, own_index):
    is_problem(server.client.post(f"{PLACE}/items", files=[("images", plain())]), 422)
    is_problem(server.client.post(f"{PLACE}/items", data={"domain": "x"}), 415)
    is_problem(server.add(plain(), domain="", name="own.index"), 422)
    is_problem(server.add(plain(), domain="x" * 101, name="own.index"), 422)
    is_problem(server.add(plain(), domain="a\nb", name="own.index"), 422)
    is_problem(server.add(plain(), b"nonsense", name="own.index"), 415)
    is_problem(server.add(*(plain((n, 0, 0)) for n in range(65)), name="own.index"), 413)
    assert not (own_index / "uploads").exists()
    assert server.client.get("/api/v1/jobs").json() == []


def slowed(monkeypatch):
    """Make every batch of a job wait for a permission; gives the permissions."""
    allowed = threading.Semaphore(0)
    real = working.Worker._add_batch

    def patient(self, *arguments):
        allowed.acquire(timeout=120)
        return real(self, *arguments)

    monkeypatch.setattr(working.Worker, "_add_batch", patient)
    monkeypatch.setattr(working, "BATCH", 4)
    return allowed


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_job_is_cancelled_after_its_batch(server, own_index, monkeypatch):
    allowed = slowed(monkeypatch)
    running_job = server.add(*(noise(n) for n in range(12)), name="own.index")
    place = running_job.headers["location"]
    waiting = server.add(noise(99), name="own.index").headers["location"]
    wait_for(lambda: server.client.get(place).json()["state"] == "running")
    allowed.release()
    wait_for(lambda: server.client.get(place).json()["done"] == 4)
    assert server.client.delete(place).json()["state"] == "running"
    assert server.client.delete(waiting).json()["state"] == "cancelled"
    allowed.release()
    job = server.ended(running_job)
    assert job["state"] == "cancelled"
    assert job["done"] == 8
    assert count(server) == 24
    is_problem(server.client.delete(place), 409)
    # Files of images that were not added are gone.
    wait_for(lambda: len([file for file in (own_index / "uploads").rglob("*") if file.is_file()]) == 8)


def test_searches_go_on_during_a_job(server, monkeypatch):
    allowed = slowed(monkeypatch)
    job = server.add(*(noise(n) for n in range(8)), name="own.index")
    wait_for(lambda: server.client.get(job.headers["location"]).json()["state"] == "running")
    answer = server.search({"parts": [{"image": 0}], "top": 3}, plain(), name="own.index")
    assert len(answer.json()["hits"]) == 3
    allowed.release(2)
    assert server.ended(job)["state"] == "done"


def test_a_stopped_server_goes_on_where_it_was(own_index, monkeypatch):
    allowed = slowed(monkeypatch)
    with running(own_index) as server:
        answer = server.add(*(noise(n) for n in range(12)), name="own.index")
        place = answer.headers["location"]
        allowed.release()
        wait_for(lambda: server.client.get(place).json()["done"] == 4)
        threading.Timer(0.3, allowed.release).start()
    # The batch at hand was finished, the rest waits.
    table = JobTable(own_index, "own.index")
    (job,) = table.all()
    assert job.state == "queued"
    assert job.done == 8
    assert len(Index.open(own_index)) == 24
    allowed.release(5)
    with running(own_index) as server:
        job = server.ended(answer)
        assert job["state"] == "done"
        assert job["result"] == {"added": 12, "ids": ANY, "skipped": [], "items": 28}


def test_what_a_dead_process_was_doing_is_taken_up(own_index):
    table = JobTable(own_index, "own.index")
    table.put("delete", {"ids": ["photo/circle/00.png"], "where": None}, 1)
    assert table.take().state == "running"
    with running(own_index) as server:
        wait_for(lambda: server.client.get("/api/v1/jobs").json()[0]["state"] == "done")
        assert count(server) == 15


def test_a_damaged_upload_is_left_out(own_index, monkeypatch):
    with running(own_index) as server:
        allowed = slowed(monkeypatch)
        answer = server.add(noise(1), noise(2), name="own.index")
        ids = [image["id"] for image in answer.json()["images"]]
        (own_index / ids[0]).write_bytes(b"broken")
        allowed.release()
        job = server.ended(answer)
        assert job["state"] == "done"
        assert job["result"]["skipped"] == [ids[0]]
        assert job["result"]["added"] == 1


def test_a_failing_job_says_so_and_the_next_one_works(server, monkeypatch):
    real = Index.upsert

    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Index, "upsert", full)
    job = server.ended(server.add(noise(1), name="own.index"))
    assert job["state"] == "failed"
    assert "log" in job["message"]
    monkeypatch.setattr(Index, "upsert", real)
    assert server.ended(server.add(noise(2), name="own.index"))["state"] == "done"


def files_of(own_index):
    return sorted(
        file.relative_to(own_index).as_posix() for file in (own_index / "uploads").rglob("*") if file.is_file()
    )


def test_a_failed_job_forgets_what_it_did_not_add(server, own_index, monkeypatch):
    server.ended(server.add(noise(1), name="own.index"))
    kept = files_of(own_index)
    assert len(kept) == 1
    monkeypatch.setattr(working, "BATCH", 1)
    real, calls = Index.upsert, []

    def full_after_one(self, *arguments):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        real(self, *arguments)

    monkeypatch.setattr(Index, "upsert", full_after_one)
    job = server.ended(server.add(noise(1), noise(2), noise(3), noise(4), name="own.index"))
    assert (job["state"], job["done"]) == ("failed", 2)
    index = Index.open(own_index)
    added = [image for image in index.items.column("id").to_pylist() if image.startswith("uploads/")]
    assert files_of(own_index) == sorted(added)
    assert len(added) == 2
    assert set(kept) < set(added)


def test_a_job_whose_index_cannot_be_read_fails_once(server, monkeypatch):
    def broken(self, now=False):
        raise StoreError("the table is damaged")

    monkeypatch.setattr(Collection, "refresh", broken)
    assert server.ended(server.add(noise(1), name="own.index"))["state"] == "failed"


def test_a_job_waits_for_another_writer_as_long_as_it_takes(server, own_index, monkeypatch):
    monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.1)
    allowed = slowed(monkeypatch)
    allowed.release(10)
    with FileLock(own_index / ".lock"):
        answer = server.add(*(noise(n) for n in range(6)), name="own.index")
        time.sleep(2.5)
        assert server.client.get(answer.headers["location"]).json()["state"] == "queued"
        # Nothing was embedded in vain.
        assert [allowed.acquire(blocking=False) for _ in range(10)] == [True] * 10
        allowed.release(10)
    assert server.ended(answer)["result"] == {"added": 6, "ids": ANY, "skipped": [], "items": 22}


def test_a_writer_that_comes_between_two_batches_only_delays_a_job(server, own_index, monkeypatch):
    monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.1)
    allowed = slowed(monkeypatch)
    answer = server.add(*(noise(n) for n in range(6)), name="own.index")
    place = answer.headers["location"]
    waiting = server.add(noise(99), name="own.index")
    allowed.release()
    wait_for(lambda: server.client.get(place).json()["done"] == 4)
    with FileLock(own_index / ".lock"):
        allowed.release()
        wait_for(lambda: server.client.get(place).json()["state"] == "queued")
        job = server.client.get(place).json()
        assert (job["done"], job["total"]) == (4, 6)
        assert "waits for another program" in job["message"]
        assert server.client.get(waiting.headers["location"]).json()["state"] == "queued"
        assert len(files_of(own_index)) == 7
        assert 'state="failed"' not in server.client.get("/metrics").text
    allowed.release(5)
    assert server.ended(answer)["result"] == {"added": 6, "ids": ANY, "skipped": [], "items": 22}
    assert server.ended(waiting)["result"]["items"] == 23


def test_the_queue_and_the_list_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_ENDED", 10)
    monkeypatch.setattr(jobs, "MOST_WAITING", 5)
    table = jobs.JobTable(tmp_path, "t")
    work = {"ids": ["a"], "where": None}
    for number in range(20):
        job = table.put("delete", work, 1)
        assert table.take().id == job.id
        table.end(job.id, "done", str(number))
    assert [job.message for job in table.all()][:3] == ["19", "18", "17"]
    assert len(table.all()) <= 11
    for _ in range(5):
        table.put("delete", work, 1)
    with pytest.raises(jobs.TooManyJobsError, match="wait already"):
        table.put("delete", work, 1)
    assert len(table.all()) == 15


def test_another_process_changes_the_index(server, own_index):
    assert count(server) == 16
    other = Index.open(own_index)
    other.delete(["photo/circle/00.png"])
    wait_for(lambda: count(server) == 15)
    hits = server.ask({"parts": [{"like": "photo/circle/01.png"}]}, name="own.index").json()["hits"]
    assert "photo/circle/00.png" not in {hit["id"] for hit in hits}
    assert len(hits) == 14


def test_thumbnails(server, own_index):
    big = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8))
    server.ended(server.add(encoded(big, "JPEG"), name="own.index"))
    (hit,) = server.search({"parts": [{"image": 0}], "top": 1}, encoded(big, "JPEG"), name="own.index").json()[
        "hits"
    ]
    answer = server.client.get(f"{hit['thumbnail']}&size=128")
    assert answer.headers["content-type"] == "image/webp"
    assert "max-age" in answer.headers["cache-control"]
    shown = Image.open(io.BytesIO(answer.content))
    assert shown.size == (128, 64)
    # The same picture, smaller: compared with Pillow's own reduction.
    expected = np.asarray(big.resize((128, 64), Image.Resampling.BICUBIC), float)
    assert np.abs(np.asarray(shown.convert("RGB"), float) - expected).mean() < 25
    tag = answer.headers["etag"]
    again = server.client.get(f"{hit['thumbnail']}&size=128", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.content == b""
    other = server.client.get(f"{hit['thumbnail']}&size=64", headers={"If-None-Match": tag})
    assert other.status_code == 200
    for size in (63, 1025, -1, "x"):
        is_problem(server.client.get(f"{hit['thumbnail']}&size={size}"), 422)
    original = server.client.get(hit["image"])
    assert server.client.get(hit["image"], headers={"If-None-Match": original.headers["etag"]}).status_code == 304
    Path(own_index / hit["id"]).unlink()
    is_problem(server.client.get(hit["thumbnail"]), 404)


def test_a_job_whose_index_was_replaced_leaves_the_next_one_clean(tmp_path):
    table = JobTable(tmp_path / "i", "i")
    (tmp_path / "i").mkdir()
    job = table.put("delete", {"ids": []}, 1)
    assert table.take().id == job.id
    # Another index takes the place of the one whose job is under way.
    (tmp_path / "i").rename(tmp_path / "old")
    (tmp_path / "i" / "server").mkdir(parents=True)
    assert table.advance(job.id, 1, 1)
    table.end(job.id, "done", "deleted")
    assert not (tmp_path / "i" / "server" / "jobs.sqlite").exists()
    assert (table.waiting(), table.all()) == (False, [])
    # What an earlier crosslens left there is no hindrance either.
    (tmp_path / "i" / "server" / "jobs.sqlite").touch()
    assert (table.waiting(), table.all()) == (False, [])
    assert table.put("delete", {"ids": []}, 1).state == "queued"


def test_an_upload_in_which_the_encoder_sees_nothing_is_left_out(server, own_index, monkeypatch):
    encode = CompiledEncoder.encode_features
    nothing = noise(1)

    def blind(self, features, domains=None):
        rows = encode(self, features, domains)
        rows[1] = 0
        return rows

    monkeypatch.setattr(CompiledEncoder, "encode_features", blind)
    job = server.ended(server.add(noise(0), nothing, noise(2), name="own.index"))
    monkeypatch.undo()
    assert job["state"] == "done"
    assert (
        job["message"] == "2 images added, 1 left out: the first its vector has length 0, so it is like no other"
    )
    (left_out,) = job["result"]["skipped"]
    assert (job["result"]["added"], count(server)) == (2, 18)
    assert left_out not in Index.open(own_index).items.column("id").to_pylist()
    # Nobody would ever ask for its file.
    assert len([file for file in (own_index / "uploads").rglob("*") if file.is_file()]) == 2
