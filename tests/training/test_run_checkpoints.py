"""A checkpoint that does not fit on the disk leaves the one before it, and says what to do."""

import resource

import pytest
import torch

from crosslens.support.errors import CrosslensError
from crosslens.training.run import Run


@pytest.fixture
def full_disk():
    """Files of a megabyte at most, which is how a full disk shows: a write fails on the way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_checkpoint_before_it(tmp_path, full_disk):
    run = Run(tmp_path)
    run.save_checkpoint({"rows": torch.arange(10)})
    with pytest.raises(CrosslensError, match=r"could not write .*last.pt: .*; make room and go on with --resume"):
        run.save_checkpoint({"rows": torch.zeros(1000, 1000)})
    assert torch.equal(run.load_checkpoint()["rows"], torch.arange(10))
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.pt"]
