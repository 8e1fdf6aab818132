"""Exact resume, logging and failure of the training loop, on a small real training."""

import json

import pytest
import torch
from filelock import FileLock
from torch import nn

from crosslens.support.errors import RunError, TrainingError
from crosslens.training.batches import generator_for
from crosslens.training.loop import train
from crosslens.training.run import Run
from crosslens.training.schedules import cosine, linear_ramp


class Regression:
    """A linear regression whose batches depend on (epoch, step) alone, with state outside the optimiser."""

    epochs, steps, fails_in = 4, 5, "loss"

    def __init__(self, fail_at=None, stop_at=None):
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.memory = torch.zeros(3)
        self.optimizer = torch.optim.AdamW(self.layer.parameters(), lr=0.1)
        self.fail_at, self.stop_at, self.seen = fail_at, stop_at, []

    def start_epoch(self, epoch):
        self.memory = self.memory + 0.01 * epoch
        return {"clusters": epoch}

    def step(self, epoch, step):
        if (epoch, step) == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append((epoch, step))
        self.before = self.memory
        x = torch.randn(8, 3, generator=generator_for(7, epoch, step))
        self.memory = 0.9 * self.memory + 0.1 * x.mean(0)
        loss = (self.layer(x).squeeze(1) - x.sum(1) - self.memory.sum()).square().mean()
        if (epoch, step) != self.fail_at:
            return {"total": loss, "fit": loss}
        if self.fails_in == "loss":
            self.memory = self.memory * float("nan")
            return {"total": loss * float("nan"), "fit": loss}
        # The root's gradient at 0 is infinite.
        return {"total": loss + (self.layer.weight - self.layer.weight.detach()).abs().sqrt().sum(), "fit": loss}

    def undo_step(self):
        self.memory = self.before

    def state(self):
        return {
            "layer": self.layer.state_dict(),
            "memory": self.memory,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state):
        self.layer.load_state_dict(state["layer"])
        self.memory = state["memory"]
        self.optimizer.load_state_dict(state["optimizer"])


def weights(job):
    return torch.cat([p.detach().reshape(-1) for p in job.layer.parameters()])


@pytest.fixture
def run(tmp_path):
    return Run.start(tmp_path / "run", {"method": "test"}, resume=False)


@pytest.mark.parametrize("stop_at", [(0, 0), (0, 3), (1, 0), (2, 4), (3, 4)])
def test_a_run_killed_anywhere_resumes_to_the_same_bits(tmp_path, run, stop_at):
    whole = Regression()
    train(whole, run)
    broken = Run.start(tmp_path / "broken", {"method": "test"}, resume=False)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(stop_at=stop_at), broken, checkpoint_seconds=0)
    resumed = Regression()
    train(resumed, broken, checkpoint_seconds=0)
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(whole.memory, resumed.memory)
    # What an epoch's start told is in the log of every epoch, the interrupted one too.
    assert [entry["clusters"] for entry in broken.read_log()] == list(range(whole.epochs))
    expected = [(e, s) for e in range(4) for s in range(5) if (e, s) >= stop_at]
    assert resumed.seen == expected
    strip = [{k: v for k, v in entry.items() if k != "seconds"} for entry in broken.read_log()]
    original = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.read_log()]
    assert [e["losses"] for e in strip] == [e["losses"] for e in original]


def test_a_finished_run_trains_no_further(run):
    train(Regression(), run)
    again = Regression()
    train(again, run)
    assert again.seen == []


def test_log_holds_every_epoch_with_mean_losses(run):
    train(Regression(), run)
    log = run.read_log()
    assert [entry["epoch"] for entry in log] == [0, 1, 2, 3]
    assert log[1]["clusters"] == 1
    assert log[2]["lr"] == pytest.approx(0.1 * cosine(2, 4))
    assert log[3]["losses"]["fit"] == pytest.approx(log[3]["losses"]["total"])
    assert log[3]["losses"]["total"] < log[0]["losses"]["total"]


def test_a_line_cut_off_by_a_kill_is_passed_over(run):
    run.log({"epoch": 0, "losses": {}})
    with open(run.folder / "log.jsonl", "a") as handle:
        handle.write('{"epoch": 1, "los')
    assert [entry["epoch"] for entry in run.read_log()] == [0]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_nan_stops_training_and_keeps_the_state_before_it(run, what):
    job = Regression(fail_at=(1, 2))
    job.fails_in = what
    with pytest.raises(TrainingError, match=rf"the {what} is not finite at epoch 1, step 2 \(total "):
        train(job, run)
    failed = run.load_checkpoint("failed")
    assert (failed["epoch"], failed["step"]) == (1, 2)
    sound = Regression(stop_at=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        train(sound, Run.start(run.folder / "sound", {}, resume=False), checkpoint_seconds=1e9)
    assert torch.equal(failed["job"]["layer"]["weight"], sound.layer.weight)
    assert torch.equal(failed["job"]["memory"], sound.memory)
    assert json.loads((run.folder / "log.jsonl").read_text().splitlines()[-1])["failed"] is True


def test_a_checkpoint_of_another_model_is_refused(run):
    train(Regression(), run)
    state = run.load_checkpoint()
    state["job"]["layer"] = {"weight": torch.zeros(1, 9), "bias": torch.zeros(1)}
    run.save_checkpoint(state)
    with pytest.raises(TrainingError, match="does not fit this run"):
        train(Regression(), run)


def test_a_damaged_checkpoint_is_named(run):
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "last.pt").write_bytes(b"PK not really")
    with pytest.raises(RunError, match="delete it to start this run anew"):
        train(Regression(), run)


class TestRunFolder:
    def test_a_second_run_in_the_same_folder_needs_resume(self, run):
        run.log({"epoch": 0})
        with pytest.raises(RunError, match="--resume"):
            Run.start(run.folder, {"method": "test"}, resume=False)
        assert Run.start(run.folder, {"method": "test"}, resume=True).config()["method"] == "test"

    def test_resume_with_other_settings_names_them(self, tmp_path):
        Run.start(tmp_path / "r", {"seed": 1, "settings": {"lr": 0.1}}, resume=False).log({"epoch": 0})
        with pytest.raises(RunError, match=r"seed: 1 then, 2 now; settings\.lr: 0\.1 then, 0\.2 now"):
            Run.start(tmp_path / "r", {"seed": 2, "settings": {"lr": 0.2}}, resume=True)

    def test_a_folder_where_nothing_was_learned_is_new(self, run):
        again = Run.start(run.folder, {"method": "test", "seed": 5}, resume=False)
        assert again.config()["seed"] == 5
        # Unless somebody is about to learn in it.
        with FileLock(run.folder / ".lock"), pytest.raises(RunError, match="--resume"):
            Run.start(run.folder, {"method": "test"}, resume=False)

    def test_a_configuration_of_another_program_is_left_alone(self, tmp_path):
        for text in ("seed: 1\n", "not: [yaml"):
            (tmp_path / "config.yaml").write_text(text)
            with pytest.raises(RunError):
                Run.start(tmp_path, {"method": "test"}, resume=False)
            assert (tmp_path / "config.yaml").read_text() == text
        (tmp_path / "config.yaml").unlink()
        (tmp_path / "images.parquet").write_text("precious")
        with pytest.raises(RunError, match="not empty"):
            Run.start(tmp_path, {"method": "test"}, resume=False)

    def test_a_folder_with_other_things_is_left_alone(self, tmp_path):
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / "thesis.txt").write_text("precious")
        with pytest.raises(RunError, match="not empty"):
            Run.start(tmp_path / "r", {}, resume=False)
        assert (tmp_path / "r" / "thesis.txt").read_text() == "precious"

    def test_a_run_of_a_newer_version_is_refused(self, run):
        text = (run.folder / "config.yaml").read_text().replace("format: 1", "format: 99")
        (run.folder / "config.yaml").write_text(text)
        with pytest.raises(RunError, match="newer crosslens"):
            run.config()
        (run.folder / "config.yaml").write_text(text.replace("format: 99", "format: abc"))
        with pytest.raises(RunError, match="its format is 'abc'"):
            run.config()

    def test_no_run_and_broken_yaml_are_named(self, tmp_path):
        with pytest.raises(RunError, match="no run folder"):
            Run(tmp_path).config()
        (tmp_path / "config.yaml").write_text("a: [1")
        with pytest.raises(RunError, match="cannot be read"):
            Run(tmp_path).config()


def test_schedules():
    assert cosine(0, 200) == 1.0
    assert cosine(100, 200) == pytest.approx(0.5)
    assert 0 < cosine(199, 200) < 1e-4
    # UCDIR, Office-Home: weight 0 at epoch 20, 0.0625 at epoch 30 of the ramp to 0.5, full at 100.
    assert linear_ramp(20, 20, 100) == 0.0
    assert 0.5 * linear_ramp(30, 20, 100) == pytest.approx(0.0625)
    assert linear_ramp(100, 20, 100) == linear_ramp(150, 20, 100) == 1.0
    assert linear_ramp(5, 4, 4) == 1.0


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_step_beyond_what_a_float_holds_is_told_at_once(tmp_path, optimizer):
    """Not only when a later step finds weights that are none: the last step of all has no later one."""
    job = Regression()
    job.epochs = job.steps = 1
    job.optimizer = optimizer(job.layer.parameters(), lr=3e38)
    with pytest.raises(TrainingError, match=r"beyond what a float holds; lower it \(--set lr="):
        train(job, Run(tmp_path))
