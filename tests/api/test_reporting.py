"""``crosslens.report`` and ``crosslens report`` on a real, tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import crosslens
from crosslens import api
from crosslens.cli.report import report as report_command
from crosslens.evaluation.scenarios import Scenario
from crosslens.support.errors import ConfigError, EvaluationError, FingerprintError, RunError
from crosslens.training.run import Run
from testing.page_parser import Page
from testing.published_models import save_clip
from testing.tiny_backbone import register_tiny
from testing.tiny_pictures import make_pictures

app = typer.Typer()
app.command()(report_command)

QUICK = {"epochs": 2, "clusters": 4, "cluster_epoch": 0, "align_epoch": 1, "head": [16, 8], "views": 2}
QUICK |= {"batch_size": 8, "members": 2}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Pictures, a run without labels and one with, and features of the backbone."""
    folder = tmp_path_factory.mktemp("report-run")
    register_tiny()
    pictures = make_pictures(folder / "pictures", count=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSLENS_CACHE", str(folder / "cache"))
        api.fit("ucdir", pictures, out=folder / "first", backbone="tiny", settings=QUICK)
        api.fit("supervised", pictures, out=folder / "taught", backbone="tiny", settings={"epochs": 2})
        api.embed(pictures, out=folder / "features", backbone="tiny")
    return folder


@pytest.fixture(autouse=True)
def _cache(work, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(work / "cache"))


def test_a_run_beside_its_baselines(work):
    report = crosslens.report(work / "first")
    assert report.path == work / "first" / "report.html"
    assert list(report.evaluations) == ["frozen", "centred", "ucdir (first)"]
    assert all(not evaluation.marks for evaluation in report.evaluations.values())
    page = Page.read(report.path)
    assert "tiny+ucdir on photo, sketch" in page.text
    assert len(page.all("img", "map")) == 4
    assert {"loss total", "loss instance", "loss cluster"} <= {e.text for e in page.all("strong")}
    assert "settings.epochs" in page.text
    assert "one line for each of the trainings member-0, member-1" in page.text
    assert "from" in next(e.text for e in page.all("p", "unseen"))
    assert Run(work / "first").read_metrics() is None
    measured = api.evaluate(crosslens.load_encoder(work / "first"), work / "pictures")
    assert report.evaluations["ucdir (first)"].metrics == measured.metrics


def test_baselines_are_those_of_the_methods(work, tmp_path):
    fitted = api.fit("centred", work / "pictures", out=tmp_path / "centred", backbone="tiny")
    report = crosslens.report(work / "first", against=["centred", str(fitted.folder)], out=tmp_path / "r.html")
    first, second, _ = report.evaluations.values()
    assert first.metrics == pytest.approx(second.metrics)
    own = crosslens.report(fitted.folder)
    assert list(own.evaluations) == ["frozen", "centred"]


def test_an_encoder_that_saw_labels_is_marked_and_all_keep_to_what_it_did_not_see(work, tmp_path):
    report = crosslens.report(work / "first", against=["frozen", str(work / "taught")], out=tmp_path / "r.html")
    assert list(report.evaluations) == ["frozen", "supervised (taught)", "ucdir (first)"]
    marks = {name: evaluation.marks for name, evaluation in report.evaluations.items()}
    assert marks["supervised (taught)"][0].startswith("supervised")
    assert not marks["frozen"]
    held_out = Run(work / "taught").read_held_out()
    for evaluation in report.evaluations.values():
        for result in evaluation.directions:
            assert set(result.query_ids.tolist()) <= held_out
    page = Page.read(report.path)
    assert f"measured on the {len(held_out)} images it did not see" in page.text
    assert any("supervised" in e.text for e in page.all("span", "mark"))


def test_an_oracle_run_shows_its_best_epoch(work, tmp_path):
    settings = QUICK | {"members": 1}
    run = api.fit(
        "ucdir", work / "pictures", out=tmp_path / "told", backbone="tiny", settings=settings, oracle=True
    )
    report = crosslens.report(run.folder, against=[])
    assert list(report.evaluations) == ["ucdir (told), best epoch", "ucdir (told)"]
    assert [len(evaluation.marks) for evaluation in report.evaluations.values()] == [2, 1]
    assert "oracle: labels chose the epoch" in Page.read(report.path).text


def test_the_same_encoder_twice_keeps_both_names(work, tmp_path):
    report = crosslens.report(
        work / "first", against=["tiny", "tiny", str(work / "first")], out=tmp_path / "r.html"
    )
    assert list(report.evaluations) == ["tiny", "tiny #2", "ucdir (first)", "ucdir (first) #2"]


def test_features_serve_the_backbone_that_made_them(work, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    crosslens.report(work / "first", features=work / "features", out=tmp_path / "r.html")
    assert not (tmp_path / "cache" / "features").exists()
    crosslens.report(work / "first", against=["tiny:1"], features=work / "features", out=tmp_path / "r.html")
    other = tmp_path / "other"
    api.embed(work / "pictures", out=other, backbone="tiny:1")
    with pytest.raises(FingerprintError):
        crosslens.report(work / "first", features=other, out=tmp_path / "r.html")


def test_what_cannot_be_reported_is_explained(work, tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        crosslens.report(tmp_path)
    (tmp_path / "config.yaml").write_text("format: 1\nmethod: ucdir\n")
    with pytest.raises(RunError, match="no encoder yet"):
        crosslens.report(tmp_path)
    with pytest.raises(ConfigError, match="is a folder"):
        crosslens.report(work / "first", out=tmp_path)


def test_runs_that_saw_all_labels_leave_nothing_to_measure(work, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "read_held_out", lambda self: {"another image"})
    with pytest.raises(EvaluationError, match="saw labels of all"):
        crosslens.report(work / "first", out=tmp_path / "r.html")


def test_the_command_prints_the_path_and_writes_json(work, tmp_path):
    target, values = tmp_path / "page.html", tmp_path / "values.json"
    run = str(work / "first")
    result = CliRunner().invoke(app, [run, "--out", str(target), "--against", "frozen", "--json", str(values)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(target)
    assert target.is_file()
    written = json.loads(values.read_text())
    assert written["report"] == str(target)
    assert set(written["encoders"]) == {"frozen", "ucdir (first)"}
    assert 0 < written["encoders"]["frozen"]["metrics"]["map@all"] < 1


def test_the_command_is_quiet_when_asked_and_takes_domains_and_convention(work, tmp_path):
    target = tmp_path / "page.html"
    arguments = [str(work / "first"), "--out", str(target), "--quiet", "--convention", "ucdir"]
    result = CliRunner().invoke(app, [*arguments, "--domains", "sketch,photo"])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "sketch → photo" in Page.read(target).text


def test_a_run_of_names_is_shown_on_images_that_are_named(pictures, tmp_path):
    save_clip(tmp_path / "clip", max_position_embeddings=24)
    settings = {"words": 4, "steps": 2, "epochs": 1, "batch_size": 8, "template": "a X of a {class}"}
    run = crosslens.fit(
        "tki",
        out=tmp_path / "run",
        backbone=f"clip:{tmp_path / 'clip'}",
        classes=["cat", "dog"],
        settings=settings,
    )
    with pytest.raises(RunError, match="give some to measure it on"):
        crosslens.report(run.folder)
    result = CliRunner().invoke(app, [str(run.folder), "--on", str(pictures)])
    assert result.exit_code == 0, result.output
    page = (run.folder / "report.html").read_text()
    assert "photo" in page
    assert "reconstruction of TKI" in page


def test_a_scenario_is_told(pictures, tmp_path):
    scenario = Scenario("open-set", ("circle",), ("cross",))
    run = crosslens.fit(
        "centred", pictures, out=tmp_path / "run", backbone="tiny", domains=["sketch", "photo"], scenario=scenario
    )
    page = crosslens.report(run.folder).path.read_text()
    assert "trained on the classes of its open-set scenario only; measured here on all" in page


def test_without_labels_the_page_shows_what_was_found(work, tmp_path):
    """Nothing is measured, nothing is marked, and every encoder's hits, the map and the curves are there."""
    import shutil

    flat = tmp_path / "flat"
    for domain in ("photo", "sketch"):
        (flat / domain).mkdir(parents=True)
        for file in (work / "pictures" / domain).rglob("*.png"):
            shutil.copy(file, flat / domain / f"{file.parent.name}-{file.name}")
    made = crosslens.report(work / "first", flat, out=tmp_path / "r.html")
    text = made.path.read_text()
    assert made.evaluations == {}
    assert "nothing is measured" in text
    assert "What was found" in text
    assert "by domain" in text
    assert "by class" not in text
    assert 'id="training"' in text
    assert "How the numbers were made" not in text
    for name in ("frozen", "centred", "ucdir"):
        assert f'aria-label="found by {name}' in text
    # One domain without labels is enough to have no number.
    shutil.rmtree(flat / "photo")
    shutil.copytree(work / "pictures" / "photo", flat / "photo")
    assert crosslens.report(work / "first", flat, out=tmp_path / "s.html").evaluations == {}
