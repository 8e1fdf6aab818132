"""A step whose loss is NaN leaves the state that was before it, whatever it had written by then."""

import pytest
import torch

import crosslens
from crosslens.methods.tuned import TunedTogether
from crosslens.methods.two_view import TwoViewTraining
from crosslens.methods.uem.method import SemanticEnhanced
from crosslens.support.errors import TrainingError
from crosslens.training.run import Run

SETTINGS = {
    "instance": {"epochs": 2, "batch_size": 16, "views": 2, "head": [32, 16]},
    "ucdir": {"epochs": 2, "batch_size": 16, "views": 2, "head": [32, 16], "members": 1, "clusters": [3, 4]},
    "protoot": {"epochs": 2, "batch_size": 16, "views": 2, "head": [32, 16], "members": 1, "cross_epoch": 0},
    "uem": {"epochs": 2, "batch_size": 16, "views": 2, "head": [32, 16], "members": 1},
}


def tensors(state):
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from tensors(value)


@pytest.mark.parametrize("tune", ["head", "full"])
@pytest.mark.parametrize("method", SETTINGS)
def test_failed_pt_is_the_state_before_the_step(pictures, tmp_path, monkeypatch, method, tune):
    kind, states = (SemanticEnhanced if method == "uem" else TwoViewTraining), []
    forward = TunedTogether._rows

    def failing(self, network, inputs):
        rows = forward(self, network, inputs)
        return rows * float("nan") if network.training and len(states) == 4 else rows

    step = kind.step

    def watched(self, epoch, number):
        if method == "uem":
            self.learner.write_banks()
        states.append([tensor.clone() for tensor in tensors(self.state())])
        return step(self, epoch, number)

    monkeypatch.setattr(TunedTogether, "_rows", failing)
    monkeypatch.setattr(kind, "step", watched)
    with pytest.raises(TrainingError, match="the loss is not finite"):
        crosslens.fit(
            method, pictures, out=tmp_path / "run", backbone="tiny", settings=SETTINGS[method], tune=tune
        )
    failed = list(tensors(Run(tmp_path / "run").load_checkpoint("failed")["job"]))
    assert len(failed) == len(states[-1])
    for found, expected in zip(failed, states[-1], strict=True):
        assert torch.isfinite(found.float()).all()
        assert torch.equal(found, expected)
