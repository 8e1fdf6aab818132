"""The registry of long commands: what one process writes, another reads, and never believes without looking."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crosslens.support import jobs
from crosslens.support.addresses import place_of
from crosslens.support.errors import ConfigError
from crosslens.support.jobs import cancel_job, command_again, find_job, list_jobs, reason_of, recorded
from crosslens.support.progress import progress, tell_skip


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def ends(log):
    """What a log tells beside progress, of which a line may come at any time."""
    told = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "progress" in told
    return [event for event in told if event != "progress"]


def log_of(target):
    return [json.loads(line) for line in (target / "job.jsonl").read_text().splitlines()]


def test_a_job_is_seen_while_it_runs_and_after(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_WRITE", 0.0)
    target = tmp_path / "f"
    target.mkdir()
    with recorded("embed", target, ["embed", "pictures"]), progress(10, "embedding") as advance:
        advance(4)
        tell_skip("is empty")
        tell_skip("is empty")
        advance(1)
        (job,) = list_jobs()
        assert (job.seen, job.stage, job.done, job.total, job.skipped) == (
            "running",
            "embedding",
            5,
            10,
            {"is empty": 2},
        )
        assert job.rate > 0
        assert job.seconds_left == pytest.approx(5 / job.rate)
        with pytest.raises(ConfigError, match="runs already"):
            command_again(job)
    (job,) = list_jobs()
    assert (job.seen, job.command, job.target) == ("done", ["embed", "pictures"], str(target))
    lines = log_of(target)
    assert [line["event"] for line in lines] == ["start", "progress", "end"]
    assert lines[-1]["skipped"] == {"is empty": 2}
    with pytest.raises(ConfigError, match="is done"):
        command_again(job)


def test_the_log_of_a_job_in_object_storage_ends_up_there(storage, bucket, state):
    target = place_of(f"s3://{bucket}/f")
    for attempt in (1, 2):
        with recorded("embed", target, ["embed"]), progress(1, "embedding") as advance:
            (target / "features.json").write(b"{}")
            advance()
            job = list_jobs()[0]
            # While it runs, and where it is killed, it is here.
            assert ends(Path(job.log)) == ["start"]
        assert ends(target / "job.jsonl") == ["start", "end"] * attempt
        assert list_jobs()[0].log == f"s3://{bucket}/f/job.jsonl"
        assert not list((state / "jobs").glob("*.jsonl"))


def test_a_log_that_nothing_takes_stays_here(storage, bucket, state):
    storage.fault("denied", "job.jsonl", method="PUT")
    target = place_of(f"s3://{bucket}/f")
    with recorded("embed", target, ["embed"]), progress(1, "embedding") as advance:
        (target / "features.json").write(b"{}")
        advance()
    (job,) = list_jobs()
    assert job.seen == "done"
    assert ends(Path(job.log)) == ["start", "end"]


@pytest.mark.parametrize(
    ("error", "seen"),
    [(ValueError("full"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(130), "interrupted")],
)
def test_however_a_job_ends_it_says_so_and_goes_on_with_the_same_command(tmp_path, error, seen):
    with pytest.raises(type(error)), recorded("fit", tmp_path / "run", ["fit", "ucdir"]):
        raise error
    (job,) = list_jobs()
    assert job.seen == seen
    assert job.reason == ("full" if seen == "failed" else "")
    assert command_again(job) == ["fit", "ucdir", "--resume"]
    # What failed before it began has no folder of its own to write to.
    assert not (tmp_path / "run").exists()


def test_what_failed_before_it_began_writes_nothing_into_a_folder_of_others(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match="no"), recorded("embed", tmp_path / "pictures", []):
        raise ValueError("no")
    assert not list((tmp_path / "pictures").iterdir())


def test_a_killed_job_is_lost_also_when_its_number_is_used_again(tmp_path, state):
    code = (
        "import os, signal, sys; from pathlib import Path; from crosslens.support.jobs import recorded\n"
        "with recorded('embed', Path(sys.argv[1]), ['embed']): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], check=False)
    (job,) = list_jobs()
    assert job.seen == "lost"
    assert command_again(job) == ["embed"]
    # Another process of the same number, this one, is not that job.
    (file,) = (state / "jobs").glob("*.json")
    file.write_text(job.model_copy(update={"pid": os.getpid()}).model_dump_json())
    assert list_jobs()[0].seen == "lost"
    with pytest.raises(ConfigError, match="it is lost"):
        cancel_job(list_jobs()[0])


def test_a_job_of_another_machine_is_left_alone(tmp_path, state):
    with recorded("embed", tmp_path / "f", ["embed"]):
        (job,) = list_jobs()
    other = job.model_copy(update={"host": "another", "state": "running"})
    (state / "jobs" / f"{job.id}.json").write_text(other.model_dump_json())
    (seen,) = list_jobs()
    assert seen.seen == "elsewhere"
    for ask in (cancel_job, command_again):
        with pytest.raises(ConfigError, match="on another"):
            ask(seen)


def test_cancel_is_polite_and_waits(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from crosslens.support.jobs import recorded\n"
        "try:\n"
        "    with recorded('embed', Path(sys.argv[1]), ['embed']): print('ready', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt: Path(sys.argv[1]).write_text('finished what was begun')"
    )
    # As behind '&' in a script, where Ctrl-C is not heard.
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "f")],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout.readline() == b"ready\n"
    (job,) = list_jobs()
    assert cancel_job(job)
    assert (tmp_path / "f").read_text() == "finished what was begun"
    assert list_jobs()[0].seen == "interrupted"
    process.wait()


def test_jobs_are_found_by_id_beginning_and_target(tmp_path):
    for name in "ab":
        with recorded("embed", tmp_path / name, []):
            pass
    first, second = list_jobs()
    assert first.target.endswith("b")
    assert find_job(first.id) == find_job(first.id[:-1]) == find_job(str(tmp_path / "b")) == first
    assert find_job(second.id) == second
    with pytest.raises(ConfigError, match="several"):
        find_job("embed-")
    with pytest.raises(ConfigError, match="no job"):
        find_job("fit")


def test_damaged_files_are_passed_over_and_old_ones_go(tmp_path, state):
    for name in "ab":
        with recorded("embed", tmp_path / name, []):
            pass
    old = list_jobs()[1]
    (state / "jobs" / f"{old.id}.json").write_text(
        old.model_copy(update={"updated": time.time() - 40 * 86400}).model_dump_json()
    )
    (state / "jobs" / "x.json").write_text("{")
    assert len(list_jobs()) == 1
    assert not (state / "jobs" / f"{old.id}.json").exists()


def test_where_nothing_can_be_written_the_work_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CROSSLENS_STATE", str(tmp_path / "file" / "state"))
    with recorded("embed", tmp_path / "f", []), progress(2, "embedding") as advance:
        advance(2)
    assert list_jobs() == []


def test_like_reasons_count_together():
    first = reason_of("a/1.png is 4000 x 30 pixels, more than 9", "a/1.png")
    assert first == reason_of("b: is 5 x 6 pixels, more than 9", "b") == "is N x N pixels, more than N"
