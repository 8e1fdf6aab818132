"""What a run is measured on, alone and beside others, and what is said about it."""

import shutil
import unicodedata

import pytest

import crosslens
from crosslens.evaluation.scenarios import Scenario
from crosslens.support.errors import BackboneError, ConfigError, EvaluationError
from testing.published_models import save_clip
from testing.tiny_backbone import register_tiny
from testing.tiny_pictures import SHAPES, make_pictures

OPEN = Scenario("open-set", shared=("circle",), private_query=("cross", "square"), seed=7)
ORDER = ("sketch", "photo")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The pictures, and runs: of an open-set scenario, of all classes, and without one class each."""
    register_tiny()
    folder = tmp_path_factory.mktemp("measuring")
    pictures = make_pictures(folder / "pictures")
    made = {"pictures": pictures}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSLENS_CACHE", str(folder / "cache"))
        for name, options in (
            ("open", {"scenario": OPEN}),
            ("all", {}),
            ("no circle", {"unseen": "circle"}),
            ("no square", {"unseen": "square"}),
        ):
            run = crosslens.fit("centred", pictures, out=folder / name, backbone="tiny", domains=ORDER, **options)
            made[name] = run.folder
    return made


@pytest.fixture
def runs(folders, tiny_world):
    return folders


def scenario_of(result):
    return None if "scenario" not in result.extra else Scenario.from_json(result.extra["scenario"])


@pytest.mark.parametrize(
    ("asked", "measured", "is_marked"),
    [
        ({}, OPEN, False),
        ({"protocol": "open-set"}, OPEN, False),
        ({"domains": ORDER}, OPEN, False),
        ({"domains": ORDER, "protocol": "open-set"}, OPEN, False),
        ({"domains": ORDER[::-1]}, OPEN.mirrored, False),
        ({"protocol": "partial"}, OPEN.mirrored, False),
        ({"domains": ORDER[::-1], "protocol": "partial"}, OPEN.mirrored, False),
        ({"protocol": "pairs"}, None, True),
        ({"domains": ORDER, "protocol": "pairs"}, None, True),
        ({"domains": ORDER, "protocol": "partial"}, Scenario.draw("partial", SHAPES), True),
        ({"domains": ORDER[::-1], "protocol": "open-set"}, Scenario.draw("open-set", SHAPES), True),
    ],
)
def test_a_run_is_measured_on_its_own_classes_or_marked(runs, asked, measured, is_marked):
    result = crosslens.evaluate(runs["open"], **asked)
    assert scenario_of(result) == measured
    assert any("open-set scenario only" in mark for mark in result.marks) == is_marked


def test_all_are_compared_on_the_scenario_of_the_first_run(runs):
    own, plain = (runs[name] for name in ("open", "all"))
    (first, second, third), _ = crosslens.compare(["tiny", own, plain], runs["pictures"])
    assert scenario_of(first) == scenario_of(second) == scenario_of(third) == OPEN
    assert first.extra["no_match"].keys() == second.extra["no_match"].keys()
    assert not any("only" in mark for result in (first, second, third) for mark in result.marks)
    # Where the other comes first, the scenario's run is measured on classes it was not trained on.
    (first, second), _ = crosslens.compare([plain, own], protocol="pairs")
    assert first.marks == ()
    assert any("open-set scenario only" in mark for mark in second.marks)


def test_unseen_classes_are_those_of_the_first_run(runs):
    (own, bare), (found,) = crosslens.compare([runs["no circle"], "tiny"], protocol="zero-shot")
    assert any("1 unseen classes (circle)" in mark for mark in own.marks)
    alone = crosslens.evaluate(runs["no circle"], protocol="zero-shot")
    assert own.metrics == alone.metrics
    assert found.difference == pytest.approx(bare.metrics["map@all"] - own.metrics["map@all"])


@pytest.mark.parametrize("other", ["no square", "all"])
def test_a_run_that_may_know_the_unseen_class_is_not_compared(runs, other):
    folders = [runs["no circle"], runs[other]]
    with pytest.raises(EvaluationError, match=r"may have learned from circle"):
        crosslens.compare(folders, protocol="zero-shot")
    with pytest.raises(EvaluationError, match=r"may have learned from triangle"):
        crosslens.compare(folders, protocol="zero-shot", unseen="triangle")


def test_a_bare_backbone_has_learned_nothing(runs, tmp_path):
    frozen = crosslens.fit("frozen", runs["pictures"], out=tmp_path / "frozen", backbone="tiny", domains=ORDER)
    compared, _ = crosslens.compare([runs["no circle"], frozen.folder], protocol="zero-shot")
    alone = crosslens.evaluate(frozen.folder, protocol="zero-shot", unseen="circle")
    assert compared[1].metrics == alone.metrics


def test_a_run_without_domains_is_compared_on_all(runs, tmp_path):
    pictures = tmp_path / "three"
    shutil.copytree(runs["pictures"], pictures)
    shutil.copytree(pictures / "photo", pictures / "copy")
    save_clip(tmp_path / "clip", max_position_embeddings=24)
    few = {"words": 4, "steps": 2, "epochs": 1, "batch_size": 8, "template": "a X of a {class}"}
    names = crosslens.fit(
        "tki", out=tmp_path / "tki", backbone=f"clip:{tmp_path / 'clip'}", classes=["cat", "dog"], settings=few
    )
    both, _ = crosslens.compare([names.folder, runs["all"]], pictures)
    assert [len(result.directions) for result in both] == [6, 6]


def test_an_encoder_folder_says_what_its_run_did(runs, tmp_path):
    encoder = crosslens.load_encoder(runs["all"])
    encoder.trained["marks"] = ["transductive"]
    encoder.save(tmp_path / "encoder")
    assert crosslens.evaluate(tmp_path / "encoder", runs["pictures"]).marks == ("transductive",)


def test_what_does_not_go_together_is_refused(runs):
    with pytest.raises(ConfigError, match="at least two"):
        crosslens.compare([runs["all"]])
    with pytest.raises(ConfigError, match="give the images to compare on"):
        crosslens.compare(["tiny", "tiny:1"])
    with pytest.raises(ConfigError, match="has no unseen classes"):
        crosslens.compare([runs["all"], "tiny"], protocol="pairs", unseen="circle")
    with pytest.raises(ConfigError, match="named twice: photo, photo"):
        crosslens.evaluate(runs["all"], domains=["photo", "photo"])
    with pytest.raises(ConfigError, match="takes no scenario"):
        crosslens.evaluate(runs["all"], protocol="pairs", scenario=OPEN)


def test_a_comparison_writes_nothing_into_runs(runs):
    folder = runs["all"]
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    crosslens.compare([folder, "tiny"])
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_classes_in_two_forms_measure_as_in_one(tiny_world, tmp_path):
    composed, mixed = tmp_path / "composed", tmp_path / "mixed"
    pictures = make_pictures(tmp_path / "pictures")
    for look in ("photo", "sketch"):
        for shape, name in zip(SHAPES, ("café", "éléphant", "plain", "ガ"), strict=True):
            other = unicodedata.normalize("NFD", name) if look == "sketch" else name
            shutil.copytree(pictures / look / shape, composed / look / name)
            shutil.copytree(pictures / look / shape, mixed / look / other)
    own, other = (crosslens.evaluate("tiny", root) for root in (composed, mixed))
    assert own.metrics == other.metrics
    assert other.notes == own.notes
    assert all("cut beyond a gallery" in note for note in own.notes)


def test_classes_spelt_apart_are_said_in_the_result(tiny_world, tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    (pictures / "sketch" / "circle").rename(pictures / "sketch" / "Circle")
    found = crosslens.evaluate("tiny", pictures).notes
    notes = [note for note in found if "cut beyond a gallery" not in note]
    assert len(notes) == 2
    assert notes[0].startswith("photo to sketch: 12 of 48 queries have no relevant item")
    assert "'Circle' and 'circle' look like one class in two spellings" in notes[0]
    result = crosslens.evaluate("tiny", pictures, domains=["Sketch", " photo"])
    assert [d.query_domain for d in result.directions] == ["sketch", "photo"]
    with pytest.raises(ConfigError, match="a domain is named twice"):
        crosslens.evaluate("tiny", pictures, domains=["Sketch", "sketch"])


def test_an_unseen_class_in_another_form_is_not_learned_from(tiny_world, tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    for look, name in (("photo", "café"), ("sketch", "cafe\u0301")):
        (pictures / look / "circle").rename(pictures / look / name)
    for number, typed in enumerate(("café", "cafe\u0301", "Café")):
        run = crosslens.fit("centred", pictures, out=tmp_path / str(number), backbone="tiny", unseen=typed)
        assert run.config()["unseen"] == ["café"]
        assert run.config()["images"] == 72


def test_a_wrong_metric_is_told_after_the_first_encoder(folders, tiny_world):
    with pytest.raises(EvaluationError, match="did you mean 'map@all'"):
        # The second would be refused too, were it looked at.
        crosslens.compare(["tiny", "gone"], folders["pictures"], metric="map@al", domains=ORDER)


def test_an_encoder_that_is_not_there_is_told_before_the_images_that_lack():
    with pytest.raises(BackboneError, match="runs/gone is no run, no encoder folder and no backbone"):
        crosslens.evaluate("runs/gone")
    with pytest.raises(ConfigError, match="only a run remembers its own"):
        crosslens.evaluate("lite")
