"""What a run is measured on, alone and beside others, and what is said about it."""

import pytest

import crosslens
from crosslens.errors import ConfigError, EvaluationError
from crosslens.evaluation.scenarios import Scenario
from tiny import SHAPES, make_pictures, register_tiny

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


def test_what_does_not_go_together_is_refused(runs):
    with pytest.raises(ConfigError, match="at least two"):
        crosslens.compare([runs["all"]])
    with pytest.raises(ConfigError, match="give the images to compare on"):
        crosslens.compare(["tiny", "tiny:1"])
    with pytest.raises(ConfigError, match="has no unseen classes"):
        crosslens.compare([runs["all"], "tiny"], unseen="circle")
    with pytest.raises(ConfigError, match="named twice: photo, photo"):
        crosslens.evaluate(runs["all"], domains=["photo", "photo"])
    with pytest.raises(ConfigError, match="takes no scenario"):
        crosslens.evaluate(runs["all"], protocol="pairs", scenario=OPEN)


def test_a_comparison_writes_nothing_into_runs(runs):
    folder = runs["all"]
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    crosslens.compare([folder, "tiny"])
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
