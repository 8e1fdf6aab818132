"""Jobs in processes of their own: a failed one stops no other, a killed one is done again, and time is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import crosslens
from crosslens.api.benchmarking import benchmarking
from crosslens.api.benchmarking.job import is_done, run_job
from crosslens.api.benchmarking.running import Estimates, Running
from crosslens.evaluation.suite_results import SuiteResults
from crosslens.support.errors import RunError
from testing.tiny_pictures import make_pictures

REPOSITORY = Path(__file__).resolve().parents[3]
FAKE = """
import json, os, pathlib, signal, sys
asked = json.load(sys.stdin)
method = asked["job"]["cell"]["method"]
if method == "frozen":
    print("first words", file=sys.stderr)
    print("error: the reason", file=sys.stderr)
    sys.exit(1)
if method == "instance":
    os.kill(os.getpid(), signal.SIGKILL)
place = pathlib.Path(asked["out"]) / "jobs" / asked["job"]["key"]
place.mkdir()
(place / "asked.json").write_text(json.dumps([os.environ["OMP_NUM_THREADS"], asked["features"]]))
"""


def fake(out, processes=2, code=FAKE, features=None):
    return Running(out, processes, features or {}, command=(sys.executable, "-c", code))


def test_a_failed_job_stops_no_other_and_says_why(planned, tmp_path):
    _, plan = planned(methods=["frozen", "instance", "centred"])
    failures = fake(tmp_path).run(plan.jobs, Estimates(tmp_path))
    assert {f.job.cell.method: f.reason for f in failures} == {
        "frozen": "the reason",
        "instance": "its process was ended by SIGKILL, often for want of memory",
    }
    assert "first words" in failures[0].log.read_text()
    assert [is_done(tmp_path, job) for job in plan.jobs] == [False, False, True]


def test_processes_share_the_processors(planned, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    _, plan = planned(methods=["centred"])
    running = fake(tmp_path, processes=1, features={("shapes", "tiny"): tmp_path})
    running.run(plan.jobs, Estimates(tmp_path))
    told = json.loads((tmp_path / "jobs" / plan.jobs[0].key / "asked.json").read_text())
    assert told == [str(os.cpu_count()), str(tmp_path.resolve())]


def test_what_ends_without_a_word_or_a_result(planned, tmp_path):
    _, plan = planned(methods=["centred"])
    for code, told in (("import sys; sys.exit(3)", "status 3"), ("", "status 0")):
        (failure,) = fake(tmp_path, code=code).run(plan.jobs, Estimates(tmp_path))
        assert told in failure.reason


def test_estimates_learn_from_what_is_done(planned, tmp_path):
    _, plan = planned(
        methods={"one": {"method": "ucdir", "settings": {"members": 1, "epochs": 1, "batch_size": 8}}},
        seeds=[0, 1],
    )
    before = Estimates(tmp_path)(plan.jobs[1])
    run_job(plan.jobs[0], tmp_path)
    facts = json.loads((tmp_path / "jobs" / plan.jobs[0].key / "facts.json").read_text())["facts"]
    after = Estimates(tmp_path)(plan.jobs[1])
    fixed = Estimates(tmp_path / "none")(planned(methods=["frozen"])[1].jobs[0])
    assert after != before
    assert after - fixed == pytest.approx(facts["seconds"]["fit"], abs=0.5)


def test_a_second_call_does_what_is_missing(planned, tmp_path, monkeypatch):
    """With the jobs in this process: they take the place of their processes."""
    done = []

    def here(running, jobs, estimate):
        for job in jobs:
            done.append(job.cell.method)
            run_job(job, running.out)
        return []

    monkeypatch.setattr(Running, "run", here)
    planned()
    file = tmp_path / "suite.yaml"
    request = benchmarking.BenchmarkRequest.of(suite=file, out=tmp_path / "out")
    first = benchmarking.run_suite(request)
    assert (done, first.missing) == (["frozen", "centred"], 0)
    planned(methods=["frozen", "centred", "supervised"])
    again = benchmarking.run_suite(request)
    assert done == ["frozen", "centred", "supervised"]
    assert len(again.results.cells) == 3
    planned(methods={"frozen": {}, "as it is": {"method": "frozen"}, "one": {"method": "frozen"}}, seeds=[7])
    assert len(benchmarking.run_suite(request).results.cells) == 3
    assert len(done) == 4
    planned(methods=["frozen", "centred", "supervised"])
    for suffix in ("csv", "md", "tex"):
        assert (again.tables / f"pairs.{suffix}").stat().st_size
    assert SuiteResults.read(again.parquet).suite["name"] == "tiny"
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(RunError, match="another process"):
        crosslens.benchmark(file, out=tmp_path / "out")


@pytest.mark.slow
def test_the_smoke_suite_survives_a_kill(tmp_path):
    """The command itself, killed with SIGKILL while it works, and called again."""
    make_pictures(tmp_path / "pictures", count=6)
    environment = os.environ | {
        "CROSSLENS_PICTURES": str(tmp_path / "pictures"),
        "CROSSLENS_CACHE": str(tmp_path / "cache"),
    }
    suite = REPOSITORY / "benchmarks" / "smoke.yaml"
    command = [sys.executable, "-m", "crosslens", "benchmark", str(suite), "--out", str(tmp_path / "out")]
    jobs = tmp_path / "out" / "jobs"

    def finished():
        return {file.parent.name: file.stat().st_mtime_ns for file in jobs.glob("*/facts.json")}

    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not finished() and killed.poll() is None:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = finished()
    assert before
    assert not (tmp_path / "out" / "results.parquet").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # What was done is what it was; a job that an orphan finished before it saw the kill may be there too.
    assert before.items() <= finished().items()
    results = SuiteResults.read(tmp_path / "out" / "results.parquet")
    assert len(results.cells) == len(finished()) == 6
    assert "supervised" in (tmp_path / "out" / "report.html").read_text()
