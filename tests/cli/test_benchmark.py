"""``crosslens benchmark``: what it lists, what it refuses, and what it leaves."""

import json

import pytest
import yaml

from crosslens.api.benchmarking.job import run_job
from crosslens.api.benchmarking.running import Failure, Running


@pytest.fixture
def suite(pictures, tmp_path):
    file = tmp_path / "suite.yaml"
    content = {
        "name": "tiny",
        "methods": ["frozen", "centred"],
        "backbones": ["tiny"],
        "data": {"shapes": {"path": str(pictures)}},
    }
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture
def here(monkeypatch):
    """Jobs in this process, where the tiny backbone is known; those of methods named here fail."""
    failing = []

    def run(running, jobs, estimate):
        failures = []
        for job in jobs:
            if job.cell.method in failing:
                failures.append(Failure(job, "no luck", running.out / "x.log"))
            else:
                run_job(job, running.out)
        return failures

    monkeypatch.setattr(Running, "run", run)
    return failing


def test_a_dry_run_lists_and_does_nothing(cli, suite, tmp_path, here):
    out = tmp_path / "out"
    status, told, _ = cli("benchmark", suite, "--out", out, "--dry-run")
    assert status == 0
    assert "frozen, shapes, pairs, seed 0" in told
    assert "2 jobs, 0 done; about" in told
    assert not out.exists()
    cli("benchmark", suite, "--out", out)
    value = json.loads(cli("benchmark", suite, "--out", out, "--dry-run", "--json", "-")[1])
    assert [job["done"] for job in value["jobs"]] == [True, True]
    assert value["seconds_left"] == 0


def test_table_and_page(cli, suite, tmp_path, here):
    page, marked = tmp_path / "page.md", "<!-- table: pairs -->\n<!-- end -->\n"
    page.write_text(marked)
    status, told, _ = cli("benchmark", suite, "--out", tmp_path / "out", "--markdown", page)
    assert status == 0
    assert str(tmp_path / "out" / "report.html") in told
    text = page.read_text()
    assert "| frozen |" in text
    page.write_text(marked)
    assert cli("benchmark", tmp_path / "out" / "results.parquet", "--markdown", page)[0] == 0
    assert page.read_text() == text


def test_a_failed_job_is_told_at_the_end_and_in_the_status(cli, suite, tmp_path, here):
    out = tmp_path / "out"
    here.append("centred")
    status, _, told = cli("benchmark", suite, "--out", out)
    assert status == 1
    assert "failed: centred, shapes, pairs, seed 0: no luck" in told
    assert "centred, shapes, pairs, seed 0: no luck" in (out / "report.html").read_text()
    here.clear()
    assert json.loads(cli("benchmark", suite, "--out", out, "--so-far", "--json", "-")[1])["missing"] == 1
    assert cli("benchmark", suite, "--out", out)[0] == 0
    assert "no luck" not in (out / "report.html").read_text()


def test_what_is_refused(cli, suite, tmp_path):
    for arguments, told in (([suite], "--out"), ([tmp_path / "results.parquet"], "--markdown")):
        status, _, error = cli("benchmark", *arguments)
        assert status == 2
        assert told in error
