"""Groups of runs that differ in their seed."""

import numpy as np

from crosslens.api.seeds import runs_of, seed_folder, spread_of


def test_the_runs_of_a_group_come_by_seed(tmp_path):
    for seed in (10, 2, 0):
        run = seed_folder(tmp_path, seed)
        run.mkdir()
        (run / "config.yaml").write_text("method: ucdir\n")
    seed_folder(tmp_path, 5).mkdir()
    assert runs_of(tmp_path) == [str(tmp_path / f"seed-{seed}") for seed in (0, 2, 10)]


def test_what_is_no_group_stays_what_it_is(tmp_path):
    assert runs_of("lite:joint") == ["lite:joint"]
    assert runs_of(tmp_path) == [str(tmp_path)]
    run = seed_folder(tmp_path, 0)
    run.mkdir()
    (run / "config.yaml").write_text("method: ucdir\n")
    assert runs_of(run) == [str(run)]


def test_the_spread_is_that_of_a_sample():
    assert spread_of([0.1, 0.2, 0.6]) == (np.mean([0.1, 0.2, 0.6]), np.std([0.1, 0.2, 0.6], ddof=1))
    assert spread_of([0.4]) == (0.4, 0.0)
