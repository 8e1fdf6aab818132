"""What a fit says at its end."""

from crosslens import api
from crosslens.api.summary import judge_run, summarise_fit
from crosslens.training.run import Run
from testing.tiny_pictures import make_pictures


def test_three_sentences(run):
    learned, seems, following = summarise_fit(run)
    assert learned.startswith("learned from 48 images of photo, sketch, without labels; 2 epochs in ")
    assert "'centred'" in seems
    assert "no measurement" in seems
    assert f"crosslens evaluate {run.folder};" in following
    # What only an unfinished run needs is gone, and what was learned is there.
    assert not (run.folder / "checkpoints").exists()
    assert Run(run.folder).is_finished


def test_the_verdict_is_that_of_the_agreement(run, monkeypatch):
    from crosslens.api import summary
    from crosslens.evaluation.without_labels import Agreement

    found = judge_run(run)
    assert -1 <= found.value <= 1
    for value, word in ((0.9, "seems better"), (0.5, "seems no better"), (0.1, "seems worse")):
        monkeypatch.setattr(summary, "judge_run", lambda *_, value=value: Agreement(value, 0.5, 0.01))
        assert summary.seems_better(run).startswith(word)


def test_nothing_is_said_of_what_learned_nothing_or_cannot_be_read(run, tmp_path):
    import shutil

    pictures = make_pictures(tmp_path / "q", 6)
    plain = api.fit("centred", pictures, out=tmp_path / "centred", backbone="tiny")
    assert len(summarise_fit(plain)) == 2
    shutil.rmtree(tmp_path / "p")
    assert len(summarise_fit(run)) == 2
