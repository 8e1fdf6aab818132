"""What methods say of themselves, and that a new one needs no more than its file and a line."""

import numpy as np
import pytest
import torch

import crosslens
from crosslens.api import open_catalog
from crosslens.encoder import Encoder
from crosslens.methods import METHODS, method_class
from crosslens.methods.base import FitJob, Method, MethodConfig, make_config, torch_device
from crosslens.methods.settings import settings_of
from crosslens.methods.text_map import MapConfig
from crosslens.methods.uem.config import UEMConfig
from crosslens.support.errors import ConfigError, RunError

QUICK = {"epochs": 1, "batch_size": 16, "views": 1, "head": [8, 4], "members": 1, "clusters": 3, "align_epochs": 0}


class ToyConfig(MethodConfig):
    scale: float = 2.0
    """What features are multiplied by."""


class Toy(Method[ToyConfig]):
    """Multiplies, which no cosine sees."""

    name = "toy"
    summary = "features times a number"
    Config = ToyConfig
    learns_from = frozenset({"images", "names"})
    reconstruction_of = "a paper nobody has"

    def fit(self, job: FitJob) -> Encoder:
        job.features_by_domain()
        return Encoder(job.backbone, method=self.name, trained=self.facts(job))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_all_that_others_ask_and_documents_every_setting(name):
    kind = method_class(name)
    assert kind.name == name
    assert kind.summary
    assert kind.learns_from <= {"images", "names", "labels"}
    for setting in settings_of(kind.Config):
        assert setting.meaning.endswith("."), setting.name
        assert setting.kind
        assert setting.default


def test_a_new_method_is_one_file_and_one_line(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "toy", f"{__name__}:Toy")
    options = {"out": tmp_path / "run", "backbone": "tiny"}
    with pytest.raises(ConfigError, match="toy learns from class names"):
        crosslens.fit("toy", pictures, **options)
    run = crosslens.fit("toy", pictures, classes=["circle", "cross"], settings={"scale": 3}, **options)
    assert run.config()["settings"] == {"scale": 3.0}
    card = (run.encoder_folder / "README.md").read_text()
    assert "Made by features times a number." in card
    assert "reconstruction of a paper nobody has from its abstract" in crosslens.evaluate(run.folder).marks


class TestRemovedSettings:
    def test_one_that_asks_for_what_is_done_anyway_is_passed_over(self):
        assert make_config(MapConfig, {"map_centre": False, "map": "none"}, "text-map").map == "none"

    def test_one_that_asks_for_more_is_refused_in_clear_words(self):
        with pytest.raises(
            ConfigError, match=r"uem has no setting votes any more \(votes=bank\), since it gained"
        ):
            make_config(UEMConfig, {"votes": "bank"}, "uem")

    def test_an_old_run_can_be_measured_and_resumed_only_where_it_is_the_same(self, pictures, tmp_path):
        def old(name, more):
            run = crosslens.fit("uem", pictures, out=tmp_path / name, backbone="tiny", settings=QUICK)
            file = run.folder / "config.yaml"
            file.write_text(file.read_text().replace("settings:\n", f"settings:\n{more}"))
            return run

        same, other = old("same", "  ema: 0.0\n  votes: start\n"), old("other", "  votes: bank\n")
        options = {"backbone": "tiny", "settings": QUICK, "resume": True}
        assert crosslens.fit("uem", pictures, out=same.folder, **options).is_finished
        with pytest.raises(ConfigError, match="can be measured and searched, but not resumed"):
            crosslens.fit("uem", pictures, out=other.folder, **options)
        for run in (same, other):
            assert crosslens.evaluate(run.folder).metrics["map@all"] > 0
            assert np.isfinite(
                crosslens.load_encoder(run.folder).encode_images(open_catalog(pictures).paths)
            ).all()

    def test_other_settings_are_still_told_as_such(self, pictures, tmp_path):
        crosslens.fit("uem", pictures, out=tmp_path / "run", backbone="tiny", settings=QUICK)
        with pytest.raises(RunError, match=r"settings\.epochs: 1 then, 2 now"):
            crosslens.fit(
                "uem", pictures, out=tmp_path / "run", backbone="tiny", settings=QUICK | {"epochs": 2}, resume=True
            )


def test_every_documented_device_is_one_of_torchs():
    assert torch_device("torch-cpu") == torch_device("cpu") == torch.device("cpu")
    assert torch_device("cuda:1") == torch.device("cuda", 1)
