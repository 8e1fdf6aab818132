"""``fit auto`` from pictures to a run, with a quick method in the place of the one that the rules name."""

import shutil

import pytest
from pydantic import create_model

import crosslens
from crosslens.api import summary
from crosslens.api.auto import train_chosen as training
from crosslens.encoder.parts import Untrained
from crosslens.evaluation.without_labels import Agreement
from crosslens.methods.uem.method import UEM, UEMConfig
from crosslens.support.errors import CatalogError, ConfigError, RunError
from crosslens.training.run import Run
from testing.tiny_pictures import make_pictures

QUICK = {"epochs": 1, "align_epochs": 1, "members": 1, "head": (16, 8), "batch_size": 16, "clusters": (4,)}


@pytest.fixture
def quick(monkeypatch, tiny_world):
    """UEM's defaults are those of a fit that takes a second."""
    fields = {name: (UEMConfig.model_fields[name].annotation, value) for name, value in QUICK.items()}
    config = create_model("UEMConfig", __base__=UEMConfig, **fields)
    monkeypatch.setattr(UEM, "Config", config)


def says(monkeypatch, value):
    monkeypatch.setattr(training, "hold_against_centred", lambda *_: Agreement(value, 0.5, 0.01))


def test_what_seems_better_is_kept(quick, pictures, tmp_path, monkeypatch):
    says(monkeypatch, 0.9)
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")
    config = run.config()
    assert config["method"] == config["auto"]["method"] == "uem"
    assert config["settings"]["epochs"] == 1
    assert config["auto"]["facts"]["pictures"] == {"photo": 48, "sketch": 48}
    assert config["auto"]["agreement"]["verdict"] == "better"
    assert not (run.folder / "tried").exists()
    assert crosslens.load_encoder(run.folder).part(Untrained) is not None
    # It is a run as any: measured, and gone on with under either name.
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0
    for method in ("auto", "uem"):
        assert crosslens.fit(method, pictures, out=run.folder, backbone="tiny", resume=True).is_finished
    with pytest.raises(RunError, match="holds a run already"):
        crosslens.fit("auto", pictures, out=run.folder, backbone="tiny")


def test_pictures_are_looked_at_once_for_all_that_is_said_of_them(quick, pictures, tmp_path, monkeypatch):
    looks = []
    look = summary.features_of_encoder
    monkeypatch.setattr(summary, "features_of_encoder", lambda *a, **k: looks.append(1) or look(*a, **k))
    says(monkeypatch, 0.9)
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")
    assert "seems better than 'centred'" in summary.summarise_fit(run)[1]
    assert "0.90, with 'centred' 0.50" in summary.summarise_fit(run)[1]
    assert len(looks) == 1


def test_what_does_not_is_set_aside_for_centred(quick, pictures, tmp_path, monkeypatch, capsys):
    says(monkeypatch, 0.4)
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")
    config, aside = run.config(), Run(tmp_path / "run" / "tried" / "uem")
    assert (config["method"], config["auto"]["method"], config["auto"]["instead_of"]) == (
        "centred",
        "centred",
        "uem",
    )
    assert "auto takes centred after all" in " ".join(capsys.readouterr().err.split())
    assert aside.is_finished
    assert aside.config()["method"] == "uem"
    plain = crosslens.fit("centred", pictures, out=tmp_path / "plain", backbone="tiny")
    found = [crosslens.evaluate(place.folder).metrics["map@all"] for place in (run, plain)]
    assert found[0] == found[1]
    # What was found of uem says nothing of centred.
    assert summary.judge_run(run) is None
    assert summary.judge_run(aside).value == 0.4
    assert crosslens.evaluate(aside.folder).metrics["map@all"] > 0
    # Asked again, nothing is trained or judged anew.
    monkeypatch.setattr(training, "hold_against_centred", None)
    assert crosslens.fit("auto", pictures, out=run.folder, backbone="tiny", resume=True).config() == config


@pytest.mark.parametrize("stopped_at", ["before the verdict", "while it is set aside", "before centred is made"])
def test_a_fit_that_was_stopped_goes_on(quick, pictures, tmp_path, monkeypatch, stopped_at):
    def stop(*_, **__):
        raise KeyboardInterrupt

    says(monkeypatch, 0.4)
    with monkeypatch.context() as once:
        if stopped_at == "before the verdict":
            once.setattr(training, "hold_against_centred", stop)
        elif stopped_at == "while it is set aside":
            once.setattr(Run, "set_aside", lambda run, name: (shutil.move(run.encoder_folder, tmp_path), stop()))
        else:
            set_aside = Run.set_aside
            once.setattr(Run, "set_aside", lambda run, name: (set_aside(run, name), stop()))
        with pytest.raises(KeyboardInterrupt):
            crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny", resume=True)
    assert (run.config()["method"], run.config()["auto"]["instead_of"]) == ("centred", "uem")
    assert run.is_finished
    assert (run.folder / "tried" / "uem" / "log.jsonl").is_file()


def test_pictures_given_as_a_catalog_are_found_again_in_both_runs(quick, pictures, tmp_path, monkeypatch):
    says(monkeypatch, 0.4)
    catalog = crosslens.Catalog.open(pictures)
    run = crosslens.fit("auto", catalog, out=tmp_path / "run", backbone="tiny")
    assert run.catalog().ids == Run(run.folder / "tried" / "uem").catalog().ids == catalog.ids


def test_explaining_writes_nothing(pictures, tiny_world, tmp_path):
    asked = crosslens.api.FitRequest.of(method="auto", source=pictures, out=tmp_path / "run", backbone="tiny")
    choice = training.choose_for(asked)
    assert choice.method == "uem"
    assert not asked.out.exists()


def test_a_goal_of_things_trains_nothing(pictures, tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "hold_against_centred", None)
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny", goal="thing")
    assert run.config()["method"] == "centred"
    assert run.config()["auto"]["facts"]["goal"] == "thing"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"set": {"epochs": 3}}, ConfigError, "to give settings, name a method"),
        ({"tune": "full"}, ConfigError, "to give tune, name a method"),
        ({"oracle": True}, ConfigError, "to give oracle, name a method"),
        ({"recipe": "ucdir-office-home"}, ConfigError, "is for ucdir, not for auto"),
        ({"goal": "both"}, ConfigError, "'thing' or 'kind'"),
        ({"domains": ["photo", "nowhere"]}, CatalogError, "nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(pictures, tiny_world, tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny", **options)
    assert not (tmp_path / "run").exists()


def test_nothing_and_nowhere(tiny_world, tmp_path):
    with pytest.raises(ConfigError, match="auto needs something to choose by"):
        crosslens.fit("auto", out=tmp_path / "run", backbone="tiny")
    with pytest.raises(CatalogError, match="does not exist"):
        crosslens.fit("auto", tmp_path / "none", out=tmp_path / "run", backbone="tiny")


def test_several_processes_are_told_what_to_do(pictures, tiny_world, tmp_path, monkeypatch):
    from crosslens.training.distributed import World

    monkeypatch.setattr(training, "join_world", lambda _: World(0, 2))
    with pytest.raises(ConfigError, match="--explain, then fit that method with torchrun"):
        crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")


def test_three_looks_are_trained_and_judged_together(quick, tmp_path):
    pictures = make_pictures(tmp_path / "p", 6, looks=("photo", "sketch", "print"))
    run = crosslens.fit("auto", pictures, out=tmp_path / "run", backbone="tiny")
    auto = run.config()["auto"]
    assert run.config()["domains"] == ["photo", "print", "sketch"]
    assert "uem" in (auto["method"], auto.get("instead_of"))
    assert auto["agreement"]["verdict"] in ("better", "alike", "worse")
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0
