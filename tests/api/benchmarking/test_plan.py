"""A suite becomes jobs: each cell once, in an order that leaves a whole table, under a key of what decides."""

import shutil
from pathlib import Path

import pytest

from crosslens.api.benchmarking.plan import Job, parts_of
from crosslens.data.catalog import Catalog
from crosslens.evaluation.scenarios import Scenario
from crosslens.support.errors import ConfigError
from testing.tiny_pictures import make_pictures

TINY_HEAD = {"method": "ucdir", "settings": {"members": 1, "epochs": 1}}


def keys(planned):
    return {str(job.cell): job.key for job in planned[1].jobs}


def test_all_methods_of_the_first_seed_come_first(planned):
    _, plan = planned(seeds=[3, 1], protocols=["pairs", "open-set"])
    cells = [job.cell for job in plan.jobs]
    assert [cell.seed for cell in cells] == [3] * 4 + [1] * 4
    assert [(c.protocol, c.method) for c in cells[:4]] == [
        ("pairs", "frozen"), ("pairs", "centred"), ("open-set", "frozen"), ("open-set", "centred"),
    ]  # fmt: skip


def test_blocks_leave_combinations_out_and_none_is_there_twice(planned):
    blocks = [{"protocols": ["open-set"], "methods": ["centred"]}, {}, {"seeds": [1]}]
    _, plan = planned(blocks=blocks)
    assert [str(job.cell) for job in plan.jobs] == [
        "centred, shapes, open-set, seed 0",
        "frozen, shapes, pairs, seed 0",
        "centred, shapes, pairs, seed 0",
        "frozen, shapes, pairs, seed 1",
        "centred, shapes, pairs, seed 1",
    ]


def test_a_key_says_what_decides_the_outcome(planned, pictures):
    first = keys(planned())
    assert keys(planned()) == first
    # Another name, order, base or further methods change nothing of what a job comes to.
    more = keys(planned(name="other", methods={"centred": {}, "frozen": {}, "one": TINY_HEAD}, base="one"))
    assert first.items() <= more.items()
    # What is written out is what is meant.
    spelt = keys(planned(methods={"frozen": {"settings": {"space": "features"}}, "centred": {}}))
    assert spelt == first
    one = keys(planned(methods={"one": TINY_HEAD}))
    for changed in ({"settings": {"members": 1, "epochs": 2}}, {"settings": {"members": 2, "epochs": 1}}):
        assert keys(planned(methods={"one": TINY_HEAD | changed})) != one
    assert keys(planned(metrics=["p@1"])) != first
    assert not set(keys(planned(seeds=[1])).values()) & set(first.values())
    shutil.copy(pictures / "photo" / "circle" / "00.png", pictures / "photo" / "circle" / "more.png")
    assert not set(keys(planned()).values()) & set(first.values())


def test_goals_are_measured_on_the_same_fits(planned):
    first = keys(planned())
    both = keys(planned(goals=["kind", "thing"]))
    assert first.items() <= both.items()
    assert "frozen, shapes, pairs, thing, seed 0" in both
    kind, thing = (
        next(job for job in planned(goals=[goal], methods=["frozen"])[1].jobs) for goal in ("kind", "thing")
    )
    assert kind.fit_key(kind.parts[0], "f") == thing.fit_key(thing.parts[0], "f")
    kind, thing = (
        next(job for job in planned(goals=[goal], methods=["auto"])[1].jobs) for goal in ("kind", "thing")
    )
    assert kind.fit_key(kind.parts[0], "f") != thing.fit_key(thing.parts[0], "f")


def test_a_set_may_lie_elsewhere(planned, pictures, tmp_path):
    first = keys(planned())
    shutil.copytree(pictures, tmp_path / "moved")
    assert keys(planned(data={"shapes": {"path": str(tmp_path / "moved"), "unseen": 1}})) == first


def test_jobs_survive_json(planned):
    _, plan = planned(protocols=["pairs", "partial", "zero-shot"], methods={"one": TINY_HEAD})
    for job in plan.jobs:
        assert Job.from_json(job.to_json()) == job


def test_missing_sets_are_told_before_the_first_job_or_left_out(planned, pictures):
    data = {"shapes": {"path": str(pictures)}, "gone": {"path": f"{pictures.parent}/picturs"}}
    with pytest.raises(ConfigError, match=r"gone: .*did you mean 'pictures'.*--skip-missing"):
        planned(data=data)
    _, plan = planned(data=data, skip_missing=True)
    assert {job.cell.data for job in plan.jobs} == {"shapes"}
    assert list(plan.left_out) == ["gone"]
    with pytest.raises(ConfigError, match="gone"):
        planned(data={"gone": data["gone"]}, skip_missing=True)
    bare = {"bare": {"path": str(pictures / "photo" / "cross")}}
    with pytest.raises(ConfigError, match="no image has a label"):
        planned(data=bare)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": ["clair"]}, "no text tower"),
        ({"methods": {"ucdir": {"settings": {"epoch": 1}}}}, "did you mean 'epochs'"),
        ({"methods": {"ucdir": {"recipe": "ucdir-office"}}}, "there is no recipe"),
        ({"methods": {"frozen": {"tune": "full"}}}, "no tune full"),
        ({"methods": {"auto": {"settings": {"epochs": 1}}}}, "auto chooses the method and its settings"),
        ({"methods": {"frozen": {"classes": True}}}, "learns without class names"),
        ({"backbones": ["tiny", "tinny"]}, "did you mean 'tiny'"),
        ({"protocols": ["ucdr"]}, "ucdr on shapes"),
        ({"metrics": ["map@al"]}, "did you mean 'map@all'"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_first_job(planned, changes, told):
    with pytest.raises(ConfigError, match=told):
        planned(**changes)


def test_zero_shot_asks_which_classes(planned, pictures):
    with pytest.raises(ConfigError, match="say which classes stay unseen"):
        planned(data={"shapes": {"path": str(pictures)}}, protocols=["zero-shot"])


@pytest.fixture
def three(tmp_path):
    """Three domains, one without a class."""
    root = make_pictures(tmp_path / "three", count=2, looks=("photo", "sketch", "art"))
    shutil.rmtree(root / "art" / "cross")
    return Catalog.open(root)


def test_pairs_and_zero_shot_parts(three):
    assert [part.measured for part in parts_of(three, "pairs", 0)] == [
        ("art", "photo"), ("art", "sketch"), ("photo", "sketch"),
    ]  # fmt: skip
    drawn = {parts_of(three, "zero-shot", seed, 1)[2].unseen for seed in range(20)}
    assert len(drawn) > 1


def test_a_scenario_that_leaves_nothing_out_shares_the_fit_of_pairs(three):
    pairs = {part.learned: part for part in parts_of(three, "pairs", 0)}
    for part in parts_of(three, "close-set", 0):
        same = part.scenario is None
        # art lacks a class, so a close set of it has fewer images than the pair.
        assert same == ("art" not in part.learned)
        assert part.learned in pairs


def test_the_fit_of_an_open_set_is_that_of_the_mirrored_partial_one(three):
    partial = {part.measured: part for part in parts_of(three, "partial", 1)}
    assert len(partial) == 6
    for part in parts_of(three, "open-set", 1):
        twin = partial[part.measured[::-1]]
        assert (part.learned, part.scenario) == (twin.learned, twin.scenario)
        judged = Scenario.from_json(part.judged)
        assert judged.kind == "open-set"
        assert judged.private_query
    assert partial != {part.measured: part for part in parts_of(three, "partial", 2)}


def test_one_domain_is_no_pair(tmp_path):
    with pytest.raises(ConfigError, match="needs two domains"):
        parts_of(Catalog.open(make_pictures(Path(tmp_path) / "one", count=1, looks=("photo",))), "pairs", 0)
