"""Reports of runs that know no images of their own, and of runs with something to say."""

import pytest
import typer
from typer.testing import CliRunner

import crosslens
from crosslens.api.reporting import report_run
from crosslens.cli.report import report
from crosslens.evaluation.scenarios import Scenario
from crosslens.support.errors import RunError
from testing.published_models import save_clip


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
    with pytest.raises(RunError, match="name them"):
        report_run(run.folder)
    command = typer.main.Typer()
    command.command()(report)
    result = CliRunner().invoke(command, [str(run.folder), "--on", str(pictures)])
    assert result.exit_code == 0, result.output
    page = (run.folder / "report.html").read_text()
    assert "photo" in page
    assert "reconstruction of TKI" in page


def test_a_scenario_is_told(pictures, tmp_path):
    scenario = Scenario("open-set", ("circle",), ("cross",))
    run = crosslens.fit(
        "centred", pictures, out=tmp_path / "run", backbone="tiny", domains=["sketch", "photo"], scenario=scenario
    )
    page = report_run(run.folder).path.read_text()
    assert "trained on the classes of its open-set scenario only; measured here on all" in page
