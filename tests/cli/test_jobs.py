"""``crosslens jobs`` beside real processes: what runs is listed, cancelled and resumed."""

import json
import subprocess
import sys
import time

import pytest

from crosslens.support.jobs import list_jobs
from testing.tiny_pictures import make_pictures

SLOW = """
import sys, time
from crosslens.backbones.graphs import OnnxEngine
from testing.tiny_backbone import register_tiny
register_tiny()
run = OnnxEngine.run
OnnxEngine.run = lambda self, pixels: time.sleep(0.7) or run(self, pixels)
from crosslens.cli import main
main()
"""


@pytest.fixture
def no_jobs(tmp_path, monkeypatch, tiny_world):
    monkeypatch.setenv("CROSSLENS_STATE", str(tmp_path / "state"))


def test_a_running_job_is_listed_cancelled_and_resumed(cli, no_jobs, tmp_path, monkeypatch):
    pictures, out = make_pictures(tmp_path / "p", count=30), tmp_path / "f"
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"x")
    arguments = ["embed", str(pictures), "--out", str(out), "--backbone", "tiny", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(0 < job.done < job.total for job in list_jobs()):
        time.sleep(0.05)
    status, text, _ = cli("jobs")
    (job,) = list_jobs()
    assert status == 0
    for word in (job.id, "running", "embedding", f"of {job.total}", str(out)):
        assert word in text
    assert cli("jobs", "resume", job.id)[0] == 2
    status, text, _ = cli("jobs", "cancel", out)
    assert (status, f"crosslens jobs resume {job.id}" in text) == (0, True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert cli("jobs", "cancel", job.id)[0] == 2

    status, text, _ = cli("jobs", "--json", "-")
    (seen,) = json.loads(text)["jobs"]
    ((reason, count),) = seen["skipped"].items()
    assert (seen["seen"], count) == ("interrupted", 1)
    assert reason.startswith("is not an image")
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.append(words))
    assert cli("jobs", "resume", job.id)[0] == 0
    assert started[0][3:] == arguments
    status, text, _ = cli(*started[0][3:])
    assert status == 0
    embedded = int(text.partition("embedded now\t")[2].split()[0])
    assert 0 < embedded < 239
    lines = [json.loads(line) for line in (out / "job.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines if line["event"] == "end"] == ["interrupted", "done"]


def test_fit_and_index_build_are_jobs_with_a_log_too(cli, no_jobs, pictures, tmp_path):
    run, index = tmp_path / "run", tmp_path / "i"
    small = ("--set", "epochs=1", "--set", "members=1", "--set", "clusters=4", "--set", "batch_size=24")
    status, _, err = cli("fit", "ucdir", pictures, "--out", run, "--backbone", "tiny", *small)
    assert status == 0, err
    assert cli("index", "build", pictures, "--encoder", run, "--out", index)[0] == 0
    assert [(job.verb, job.seen, job.target) for job in list_jobs()] == [
        ("index build", "done", str(index)),
        ("fit", "done", str(run)),
    ]
    for target in (run, index):
        lines = [json.loads(line) for line in (target / "job.jsonl").read_text().splitlines()]
        assert lines[0]["event"] == "start"
        assert lines[-1]["state"] == "done"
        assert any(line["event"] == "progress" and line["done"] == line["total"] for line in lines)


def test_no_job_is_said(cli, no_jobs):
    assert "nothing runs" in cli("jobs")[1]
    status, _, err = cli("jobs", "cancel", "embed-1")
    assert (status, "there is no job 'embed-1'" in err) == (2, True)
