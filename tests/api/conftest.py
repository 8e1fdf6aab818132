"""Fixtures of the verbs' tests."""

import pytest

from crosslens import api
from testing.tiny_pictures import make_pictures

_QUICK = {"epochs": 2, "clusters": 4, "cluster_epoch": 0, "align_epoch": 1, "head": [16, 8], "views": 2}
_QUICK |= {"batch_size": 8, "members": 1}


@pytest.fixture
def run(tiny_world, tmp_path):
    """A run of UCDIR that takes a second, on the pictures of ``tmp_path / "p"``."""
    pictures = make_pictures(tmp_path / "p", 6)
    return api.fit("ucdir", pictures, out=tmp_path / "run", backbone="tiny", settings=_QUICK)
