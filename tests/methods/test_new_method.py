"""A new method is one file and one line in ``METHODS``."""

import sys
from types import SimpleNamespace

import pytest
import torch

import crosslens
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre
from crosslens.methods import METHODS, method_class
from crosslens.methods.base import Method, MethodConfig
from crosslens.support.errors import ConfigError


class MedianConfig(MethodConfig):
    share: float = 1.0
    """How much of each domain's median is taken away."""


class Median(Method[MedianConfig]):
    """Features minus the median of their domain."""

    name = "median"
    summary = "each domain's median taken away"
    Config = MedianConfig

    def fit(self, job):
        medians = {
            domain: self.config.share * torch.from_numpy(found.centre).median(0).values
            for domain, found in job.features_by_domain().items()
        }
        return Encoder(job.backbone, [Centre(medians)], method=self.name, trained=self.facts(job))


def test_a_line_makes_a_method(pictures, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="there is no method 'median'"):
        method_class("median")
    monkeypatch.setitem(sys.modules, "toy_method", SimpleNamespace(Median=Median))
    monkeypatch.setitem(METHODS, "median", "toy_method:Median")
    fitted = {"domains": ["sketch", "photo"], "backbone": "tiny"}
    with pytest.raises(ConfigError, match="Keys of median: share"):
        crosslens.fit("median", pictures, out=tmp_path / "wrong", settings={"shares": 1}, **fitted)
    run = crosslens.fit("median", pictures, out=tmp_path / "run", settings={"share": 0.5}, **fitted)
    assert run.config()["settings"] == {"share": 0.5}
    assert Median.summary in (run.encoder_folder / "README.md").read_text()
    assert crosslens.load_encoder(run.folder).domains == ["photo", "sketch"]
    assert len(crosslens.evaluate(run.folder).directions) == 2
