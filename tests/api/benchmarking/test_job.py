"""A job comes to what the verbs say, shares fits with its neighbours, and is there whole or not at all."""

import json
import math

import pyarrow.parquet as pq
import pytest

from crosslens.api import evaluate, fit
from crosslens.api.benchmarking import job as module
from crosslens.api.benchmarking.benchmarking import write_outcome
from crosslens.api.benchmarking.job import is_done, run_job
from crosslens.evaluation.standings import chapters_of
from crosslens.support.files import read_json
from crosslens.training.run import Run

HEAD = {"one head": {"method": "ucdir", "settings": {"members": 1, "epochs": 1, "batch_size": 8}}}
CEILING = {"supervised": {}}


def done(plan, out):
    for job in plan.jobs:
        run_job(job, out)
    return plan


def test_what_a_job_comes_to_is_what_the_verbs_say(planned, pictures, tmp_path):
    suite, plan = planned(methods=HEAD, protocols=["pairs", "open-set", "zero-shot"])
    outcome = write_outcome(suite, done(plan, tmp_path / "out"), tmp_path / "out")
    settings = {"members": 1, "epochs": 1, "batch_size": 8}
    both = ("photo", "sketch")
    run = fit("ucdir", pictures, out=tmp_path / "run", backbone="tiny", set=settings, domains=both)
    unseen = plan.jobs[-1].parts[0].unseen
    held = fit(
        "ucdir", pictures, out=tmp_path / "zero", backbone="tiny", set=settings, domains=both, unseen=unseen
    )
    wanted = {
        "pairs": evaluate(run).metrics["map@all"],
        "zero-shot": evaluate(held, protocol="zero-shot").metrics["map@all"],
    }
    found = {c.protocol: c.entries["one head", "shapes"].mean("map@all") for c in chapters_of(outcome.results)}
    for protocol, value in wanted.items():
        assert found[protocol] == pytest.approx(value, abs=1e-4)
    assert set(found) == {"pairs", "open-set", "zero-shot"}
    told = next(m.facts for m in outcome.results.cells if m.cell.protocol == "open-set")
    assert 0 <= told["no_match"]["balanced accuracy"] <= 1
    assert told["bytes"]["vector"] > 0
    assert told["seconds"]["fit"] > 0


def test_a_goal_is_that_of_evaluate(planned, pictures, tmp_path):
    suite, plan = planned(methods=["centred"], goals=["kind", "thing"])
    results = write_outcome(suite, done(plan, tmp_path / "out"), tmp_path / "out").results
    run = fit("centred", pictures, out=tmp_path / "run", backbone="tiny", domains=("photo", "sketch"))
    found = {c.goal: c.entries["centred", "shapes"].mean("map@all") for c in chapters_of(results)}
    for name, goal in (("", "kind"), ("thing", "thing")):
        assert found[name] == pytest.approx(evaluate(run, goal=goal).metrics["map@all"], abs=1e-4)
    assert found[""] != pytest.approx(found["thing"], abs=1e-4)
    assert len(list((tmp_path / "out" / "fits").glob("*.json"))) == 1


def test_open_set_and_partial_share_their_fits(planned, tmp_path):
    _, plan = planned(methods=HEAD, protocols=["partial", "open-set"])
    done(plan, tmp_path / "out")
    assert len(list((tmp_path / "out" / "fits").glob("*.json"))) == 2


def test_the_ceiling_is_measured_beside_the_frozen_backbone_on_the_same_images(planned, tmp_path):
    suite, plan = planned(methods={"frozen": {}, **CEILING})
    results = write_outcome(suite, done(plan, tmp_path / "out"), tmp_path / "out").results
    ceiling = next(m for m in results.cells if m.cell.method == "supervised")
    folder = next(f for f in (tmp_path / "out" / "fits").iterdir() if (f / "held_out.json").is_file())
    only = frozenset(Run(folder).read_held_out())
    frozen = evaluate("tiny", Run(folder).catalog(), only=only)
    assert ceiling.facts["floor"]["map@all"] == pytest.approx(frozen.metrics["map@all"])
    assert {q for d in ceiling.directions for q in d.queries.tolist()} == only
    way = (
        ceiling.facts["floor"]["map@all"],
        chapters_of(results)[0].entries["supervised", "shapes"].mean("map@all"),
    )
    assert way[0] < way[1]


def test_the_ceiling_of_unseen_classes_has_seen_none_of_their_images(planned, tmp_path):
    _, plan = planned(methods=CEILING, protocols=["zero-shot"])
    done(plan, tmp_path / "out")
    folder = tmp_path / "out" / "jobs" / plan.jobs[0].key
    frozen = evaluate("tiny", plan.catalogs["shapes"], protocol="zero-shot", unseen=plan.jobs[0].parts[0].unseen)
    facts = read_json(folder / "facts.json")["facts"]
    assert facts["floor"]["map@all"] == pytest.approx(frozen.metrics["map@all"])


def test_a_job_that_was_stopped_leaves_nothing_and_goes_on(planned, tmp_path, monkeypatch):
    """Of two heads the first is trained when the process ends."""
    settings = {"members": 2, "epochs": 1, "batch_size": 8}
    _, plan = planned(methods={"two heads": {"method": "ucdir", "settings": settings}})
    job, out = plan.jobs[0], tmp_path / "out"
    save, log, trained = Run.save_checkpoint, Run.log, []

    def stop(run, *state):
        save(run, *state)
        raise KeyboardInterrupt

    def count(run, entry):
        trained.append(entry["name"])
        log(run, entry)

    monkeypatch.setattr(Run, "log", count)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, out)
    assert not is_done(out, job)
    run_job(job, out)
    assert is_done(out, job)
    # Each head was trained once, and a fit in two goes has no seconds.
    assert len(trained) == len(set(trained)) == 2
    assert read_json(out / "jobs" / job.key / "facts.json")["facts"]["seconds"]["fit"] is None


def test_auto_tells_what_it_took(planned, tmp_path):
    _, plan = planned(methods=["auto"])
    done(plan, tmp_path / "out")
    folder = next(f for f in (tmp_path / "out" / "fits").iterdir() if (f / "config.yaml").is_file())
    facts = read_json(tmp_path / "out" / "jobs" / plan.jobs[0].key / "facts.json")["facts"]
    assert f"shapes, photo, sketch: auto took {Run(folder).config()['method']}" in facts["notes"]
    assert facts["registered"] == "auto"
    assert "labels" not in facts["learns_from"]


def test_ranks_are_those_of_the_queries(planned, tmp_path):
    _, plan = planned()
    done(plan, tmp_path / "out")
    folder = tmp_path / "out" / "jobs" / plan.jobs[0].key
    ranks, rows = (pq.read_table(folder / f"{name}.parquet") for name in ("ranks", "rows"))
    first = {r["query"]: r["relevant"] for r in ranks.to_pylist() if r["rank"] == 1}
    assert first == {r["query"]: bool(r["p@1"]) for r in rows.to_pylist()}
    assert max(ranks["rank"].to_pylist()) == module.DEPTH


def test_facts_are_plain(planned, tmp_path):
    _, plan = planned()
    done(plan, tmp_path / "out")
    facts = read_json(tmp_path / "out" / "jobs" / plan.jobs[0].key / "facts.json")["facts"]
    assert json.loads(json.dumps(facts)) == facts
    assert math.isfinite(facts["seconds"]["evaluate"])
    assert facts["registered"] == "frozen"
