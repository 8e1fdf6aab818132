"""What is asked of a fit: by keyword, in a recipe, and in the run folder that came of it."""

import inspect

import pytest
import yaml

import crosslens
from crosslens.api.fit_request import FitRequest
from crosslens.data.catalog import Catalog
from crosslens.evaluation.scenarios import Scenario, ScenarioDraw
from crosslens.support.errors import BackboneError, ConfigError, RunError
from crosslens.training.run import Run

BOTH = ("sketch", "photo")


def test_a_run_tells_what_was_asked_for(tiny_world, pictures, tmp_path):
    asked = {"backbone": "tiny", "domains": list(BOTH), "settings": {"space": "features"}, "seed": 3}
    run = crosslens.fit(
        "centred", pictures, out=tmp_path / "run", scenario=ScenarioDraw("open-set", shared=2, seed=7), **asked
    )
    told = FitRequest.of_run(run)
    assert (told.method, told.source, told.out) == ("centred", str(pictures.resolve()), tmp_path / "run")
    assert (told.backbone, told.domains, told.settings, told.seed) == ("tiny", BOTH, {"space": "features"}, 3)
    assert told.scenario == Scenario.draw("open-set", Catalog.open(pictures).classes, shared=2, seed=7)
    # Asked for again, with all that was drawn, it is the same run.
    assert crosslens.fit(
        "centred", pictures, out=run.folder, scenario=told.scenario, resume=True, **asked
    ).is_finished


def test_torch_cpu_is_a_device_to_train_on(tiny_world, pictures, tmp_path):
    quick = {"epochs": 1, "batch_size": 16, "views": 1, "head": [16, 8], "members": 1, "clusters": [3]}
    asked = {"backbone": "tiny", "domains": BOTH, "settings": {**quick, "cluster_epoch": 0, "align_epoch": 1}}
    assert crosslens.fit("ucdir", pictures, out=tmp_path / "run", device="torch-cpu", **asked).is_finished


def test_a_damaged_run_says_so(tmp_path):
    (tmp_path / "config.yaml").write_text("format: 1\nmethod: centred\nseed: many\n")
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        FitRequest.of_run(Run(tmp_path))


def test_a_recipe_lies_under_what_is_asked_for(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"method": "ucdir", "tune": "full", "settings": {"epochs": 9, "views": 2}}))
    asked = FitRequest(method="ucdir", out=tmp_path, recipe=file, settings={"views": 1}).with_recipe()
    assert (asked.tune, asked.settings, asked.recipe) == ("full", {"epochs": 9, "views": 1}, None)
    assert FitRequest(method="ucdir", out=tmp_path, recipe=file, tune="head").with_recipe().tune == "head"
    with pytest.raises(ConfigError, match="for ucdir, not for uem"):
        FitRequest(method="uem", out=tmp_path, recipe=file).with_recipe()


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"epochs": 3}, ConfigError),
        ({"tune": "all"}, ConfigError),
        ({"workers": 0}, ConfigError),
        ({"decode": "quick"}, ConfigError),
        ({"domains": "photo"}, ConfigError),
        ({"device": "gpu"}, BackboneError),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(option, error, tmp_path):
    with pytest.raises(error):
        crosslens.fit("ucdir", tmp_path / "nothing", out=tmp_path / "run", **option)


def test_an_encoder_in_memory_keeps_its_way_to_decode(tiny_world, pictures, tmp_path):
    encoder = crosslens.load_encoder("tiny", decode="fast")
    assert crosslens.load_encoder(encoder, decode="fast") is encoder
    with pytest.raises(ConfigError, match="in the mode 'fast'"):
        crosslens.Index.build(pictures, encoder, tmp_path / "i", decode="exact")


def test_the_functions_show_their_options():
    shown = inspect.signature(crosslens.fit).parameters
    assert list(shown)[:3] == ["method", "source", "out"]
    # The settings of a method are called as --set calls them.
    assert set(shown) == {*FitRequest.model_fields, "set"} - {"settings"}
    assert shown["backbone"].default == "lite"
    assert "depth: Ranks kept per query" in crosslens.compare.__doc__
    assert "store: Where the items are kept" in crosslens.Index.build.__doc__


def test_set_and_its_earlier_name_are_not_given_together(tmp_path):
    with pytest.raises(ConfigError, match="give one of them"):
        crosslens.fit("ucdir", tmp_path, out=tmp_path / "run", set={"epochs": 1}, settings={"epochs": 2})
